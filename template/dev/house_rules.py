"""The rules for errors that no linter knows: `python -m dev.house_rules FILE_OR_FOLDER ...`.

AIR001  own code raises own errors: classes that are defined in `src`, not Python's or a library's
AIR002  what is raised is not logged first: the handler that answers it does that
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOG_CALLS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
ALLOWED = {"SystemExit"}  # ends the process on purpose
# Pydantic wants a ValueError from these.
VALIDATORS = re.compile(
    r"\b(field|model)_validator|\b(After|Before|Plain|Wrap)Validator",
)


@dataclass(frozen=True, order=True)
class Problem:
    """A place that breaks a rule."""

    line: int
    text: str


def check(source: str, path: str = "<text>") -> list[str]:
    """Return one line for each place in a file that breaks a rule.

    Args:
        source: the text of the file.
        path: of the file.
    """
    try:
        tree = ast.parse(source, path)
    except SyntaxError as exc:
        return [f"{path}:{exc.lineno}: {exc.msg}"]
    problems = [*_foreign_raises(tree), *_logged_raises(tree)]
    return [f"{path}:{problem.line}: {problem.text}" for problem in sorted(problems)]


def _foreign_raises(tree: ast.Module) -> Iterator[Problem]:
    """Yield each `raise` of a class that is not the service's own."""
    own = set(_own_names(tree))
    validators = set(_validators(tree))
    for function, node in _nodes(tree):
        if not isinstance(node, ast.Raise) or function in validators:
            continue
        name = _foreign_name(node, own)
        if name:
            text = f"AIR001 raises {name}; define an error in src/utils/errors.py, raise it `from` this"
            yield Problem(node.lineno, text)


def _nodes(
    tree: ast.AST, function: ast.AST | None = None
) -> Iterator[tuple[ast.AST | None, ast.AST]]:
    """Yield every node with the function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        yield function, node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _nodes(node, node)
        else:
            yield from _nodes(node, function)


def _own_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names of classes of this file, and of what it imports from `src`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom) and _is_own_module(node):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from _own_modules(node)


def _is_own_module(node: ast.ImportFrom) -> bool:
    package = (node.module or "").split(".")[0]
    return node.level > 0 or package == "src"


def _own_modules(node: ast.Import) -> Iterator[str]:
    for alias in node.names:
        if alias.name.startswith("src."):
            yield alias.asname or alias.name.split(".")[0]


def _foreign_name(node: ast.Raise, own: set[str]) -> str | None:
    """Return the name of the class that is raised, unless it is ours or a variable."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    if raised is None:
        return None
    name = ast.unparse(raised)
    parts = name.split(".")
    is_class = parts[-1][:1].isupper()
    if not is_class or parts[0] in own or parts[-1] in ALLOWED:
        return None
    return name


def _validators(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the functions that Pydantic calls: decorated, or given to a class such as AfterValidator."""
    arguments = _arguments_of_validators(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        if VALIDATORS.search(decorators) or re.search(rf"\({node.name}\)", arguments):
            yield node


def _arguments_of_validators(tree: ast.AST) -> str:
    calls = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return " ".join(call for call in calls if VALIDATORS.match(call.removeprefix("pydantic.")))


def _logged_raises(tree: ast.AST) -> Iterator[Problem]:
    """Yield each log call that a `raise` of the same block follows."""
    for node in ast.walk(tree):
        for block in _blocks(node):
            for line in _logs_and_raises(block):
                yield Problem(line, "AIR002 logs what it raises; leave that to the handlers")


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield block


def _logs_and_raises(block: list[ast.stmt]) -> Iterator[int]:
    """Yield the lines of log calls before the last `raise` of a block."""
    raises = [i for i, statement in enumerate(block) if isinstance(statement, ast.Raise)]
    if not raises:
        return
    for statement in block[: raises[-1]]:
        if _is_log_call(statement):
            yield statement.lineno


def _is_log_call(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    function = statement.value.func
    if not isinstance(function, ast.Attribute) or function.attr not in LOG_CALLS:
        return False
    return "log" in ast.unparse(function.value)


def _python_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    return [path]


def main(arguments: list[str]) -> int:
    """Check files and folders; return 1 if a rule is broken."""
    files = [file for argument in arguments for file in _python_files(Path(argument))]
    problems: list[str] = []
    for file in files:
        problems += check(file.read_text(encoding="utf-8"), str(file))
    print("\n".join(problems) or f"house rules: {len(files)} files follow them")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
