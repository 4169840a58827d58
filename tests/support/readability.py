"""Find Python code that is hard to read: dense lines, long functions, names that only we use.

The limits leave some room above what well-known code has: httpx, starlette, uvicorn, flask, litestar
and svcs have 25 to 38 characters a line and, per 1,000 lines, at most 2 tuple assignments and 12
conditional expressions.
"""

import ast
import io
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

AVERAGES = {"characters a line": 39.0}
PER_1000_LINES = {
    "tuple assignments": 3.0,
    "conditional expressions": 15.0,
    "assignment expressions": 4.0,
    "lines over 100 characters": 15.0,
}
FUNCTION_LINES = 40
FUNCTION_BRANCHES = 12
RESULT_PARTS = 2
BANNED = frozenset(
    {
        "ABOUT",
        "ADD",
        "answer",
        "Application",
        "AWAY",
        "begin",
        "body_of",
        "call_to",
        "count_together",
        "DRIVER",
        "exposition",
        "facts_of_now",
        "follow",
        "given",
        "Guard",
        "head_of",
        "install",
        "judge",
        "mask",
        "NAME",
        "once",
        "place_of",
        "sample",
        "tell",
        "told",
        "Trail",
        "watchers",
    }
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.BoolOp,
    ast.match_case,
    ast.comprehension,
)
LAYOUT = (
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


class Source:
    """A Python file.

    Args:
        path: where it is.
        root: the folder to which its path is relative in messages.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.name = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)

    def functions(self) -> Iterator[Function]:
        """Yield all functions and methods."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node

    def code(self) -> list[str]:
        """Return the lines that hold code, without indentation, comments and docstrings."""
        found: dict[int, str] = {}
        docstrings = self._docstring_lines()
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            start, column = token.start
            if token.type == tokenize.COMMENT and start in found:
                found[start] = found[start][:column]
            if token.type in (tokenize.COMMENT, *LAYOUT):
                continue
            for number in range(start, token.end[0] + 1):
                if number not in docstrings:
                    found.setdefault(number, self.lines[number - 1])
        return [line.strip() for line in found.values() if line.strip()]

    def _docstring_lines(self) -> set[int]:
        lines: set[int] = set()
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Module | ast.ClassDef | Function):
                continue
            if ast.get_docstring(node, clean=False) is not None:
                docstring = node.body[0]
                lines.update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
        return lines


def read(root: Path, *parts: str) -> list[Source]:
    """Return the Python files in these parts, files or folders, of `root`."""
    sources: list[Source] = []
    for part in parts:
        path = root / part
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        sources.extend(Source(file, root) for file in files)
    return sources


def dense(sources: Iterable[Source]) -> list[str]:
    """Return a message for each figure of these files that is over its limit."""
    count: Counter[str] = Counter()
    lines = 0
    for source in sources:
        code = source.code()
        lines += len(code)
        count["characters a line"] += sum(map(len, code))
        count["lines over 100 characters"] += sum(len(line) > 100 for line in source.lines)
        for node in ast.walk(source.tree):
            count["tuple assignments"] += is_tuple_assignment(node)
            count["conditional expressions"] += isinstance(node, ast.IfExp)
            count["assignment expressions"] += isinstance(node, ast.NamedExpr)
    messages = []
    for name, limit in AVERAGES.items():
        if count[name] > limit * lines:
            messages.append(f"{count[name] / lines:.1f} {name}, more than {limit:g}")
    for name, limit in PER_1000_LINES.items():
        if count[name] * 1000 > limit * lines:
            rate = count[name] * 1000 / lines
            messages.append(f"{rate:.1f} {name} per 1,000 lines, more than {limit:g}")
    return messages


def is_tuple_assignment(node: ast.AST) -> bool:
    """Return whether a node is a statement such as `a, b = 1, 2`, which is two of them in one line."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    return any(isinstance(target, ast.Tuple) for target in node.targets)


# Python prescribes the form of these results.
PROTOCOLS = (
    "__reduce__",
    "__reduce_ex__",
)


def large_functions(sources: Iterable[Source]) -> list[str]:
    """Return a message for each function that is too long, branches too much or returns too much."""
    messages = []
    for source in sources:
        for function in source.functions():
            place = f"{source.name}:{function.lineno} {function.name}"
            body = source.lines[function.lineno - 1 : function.end_lineno]
            length = sum(bool(line.strip()) for line in body)
            branches = sum(isinstance(node, BRANCHES) for node in ast.walk(function))
            parts = max(map(len_of_result, ast.walk(function)))
            if length > FUNCTION_LINES:
                messages.append(f"{place} has {length} lines, more than {FUNCTION_LINES}")
            if branches > FUNCTION_BRANCHES:
                messages.append(f"{place} has {branches} branches, more than {FUNCTION_BRANCHES}")
            if parts > RESULT_PARTS and function.name not in PROTOCOLS:
                messages.append(f"{place} returns {parts} values; return an object with names")
    return messages


def len_of_result(node: ast.AST) -> int:
    """Return how many values a node returns, if it is a statement that returns a tuple."""
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        return len(node.value.elts)
    return 0


def banned_names(sources: Iterable[Source]) -> list[str]:
    """Return a message for each name that is defined here and means something else elsewhere."""
    messages: list[str] = []
    for source in sources:
        for node in ast.walk(source.tree):
            messages.extend(
                f"{source.name}:{getattr(node, 'lineno', 1)} {name}"
                for name in names_in(node)
                if name.strip("_") in BANNED
            )
    return messages


def names_in(node: ast.AST) -> list[str]:
    """Return the names that a node defines or uses; attributes of what others define are theirs."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.MatchAs(name=str(name)):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.alias(name=name, asname=other):
            return [other or name]
    return []
