"""The rules for errors that no linter knows: `python -m dev.house_rules FILE_OR_FOLDER ...`.

AIR001  own code raises own errors: classes that are defined in `src`, not Python's or a library's
AIR002  what is raised is not logged first: the handler that answers it does that, once
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
ALLOWED = {"SystemExit"}  # ends the process on purpose
VALIDATORS = re.compile(
    r"\b(field|model)_validator|\b(After|Before|Plain|Wrap)Validator"
)  # pydantic wants ValueError


def check(source: str, path: str = "<text>") -> list[str]:
    """Return one line for each place in `source` that breaks a rule."""
    tree = ast.parse(source, path)
    own, validators = set(_own_names(tree)), set(_validators(tree))
    problems = []
    for function, node in _nodes(tree):
        if (
            isinstance(node, ast.Raise)
            and (name := _foreign(node, own))
            and function not in validators
        ):
            problems.append(
                (
                    node.lineno,
                    f"AIR001 raises {name}; define an error in src/utils/errors.py, raise it `from` this",
                )
            )
        for block in _blocks(node):
            problems += [
                (line, "AIR002 logs what it raises; leave that to the handlers")
                for line in _logs_and_raises(block)
            ]
    return [f"{path}:{line}: {text}" for line, text in sorted(problems)]


def _nodes(
    tree: ast.AST, function: ast.AST | None = None
) -> Iterator[tuple[ast.AST | None, ast.AST]]:
    """Yield every node with the function it stands in."""
    for node in ast.iter_child_nodes(tree):
        yield function, node
        yield from _nodes(
            node, node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        )


def _own_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names of classes of this file, and of what it imports from `src`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ImportFrom) and (
            node.level or (node.module or "").split(".")[0] == "src"
        ):
            yield from (alias.asname or alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (
                alias.asname or alias.name.split(".")[0]
                for alias in node.names
                if alias.name.startswith("src.")
            )


def _foreign(node: ast.Raise, own: set[str]) -> str | None:
    """Return the name of the class that is raised, if it is none of ours; raising a variable again is fine."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    if raised is None:
        return None
    name = ast.unparse(raised)
    first, last = name.split(".")[0], name.split(".")[-1]
    if first in own or last in ALLOWED or not last[:1].isupper():
        return None
    return name


def _validators(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the functions that pydantic calls: decorated, or handed to a class such as AfterValidator."""
    calls = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call))
    handed = " ".join(call for call in calls if VALIDATORS.match(call.removeprefix("pydantic.")))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            decorated = any(
                VALIDATORS.search(ast.unparse(decorator)) for decorator in node.decorator_list
            )
            if decorated or re.search(rf"\({node.name}\)", handed):
                yield node


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _logs_and_raises(block: list[ast.stmt]) -> Iterator[int]:
    """Yield the lines of log calls that a `raise` of the same block follows."""
    last_raise = max(
        (i for i, statement in enumerate(block) if isinstance(statement, ast.Raise)), default=-1
    )
    for statement in block[: max(last_raise, 0)]:
        call = statement.value if isinstance(statement, ast.Expr) else None
        function = call.func if isinstance(call, ast.Call) else None
        if (
            isinstance(function, ast.Attribute)
            and function.attr in LOG_CALLS
            and "log" in ast.unparse(function.value)
        ):
            yield statement.lineno


def main(arguments: list[str]) -> int:
    """Check files and folders; return 1 if a rule is broken."""
    paths = [Path(argument) for argument in arguments]
    files = [
        file for path in paths for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    problems = [
        problem for file in files for problem in check(file.read_text(encoding="utf-8"), str(file))
    ]
    print("\n".join(problems) or f"house rules: {len(files)} files follow them")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
