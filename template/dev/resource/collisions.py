"""What a new resource would clash with, found before anything is written."""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dev import ROOT
from dev.resource.names import Names

OTHER_NAME = "choose another name for the resource"
FRAMEWORK_PATHS = ("docs", "redoc")
# In these the name of the router's module, and of the service's, is imported.
IMPORTING = ("src/api/dependencies.py", "src/api/routers.py")


def refuse_collisions(names: Names, files: dict[str, str]) -> None:
    """End the process with one line if a resource would clash with what there is.

    Args:
        names: of the resource.
        files: the text of its new files by path.
    """
    for problem in _find_collisions(names, files):
        sys.exit(problem)


def _find_collisions(names: Names, files: dict[str, str]) -> Iterator[str]:
    for path in files:
        if (ROOT / path).exists():
            yield f"{path} exists already: {OTHER_NAME}, or move the file away"
    for path, text in files.items():
        yield from _clashes_within(path, text)
    sources = {path: _parse(path) for path in sorted((ROOT / "src").rglob("*.py"))}
    yield from _same_definitions(files, sources)
    yield from _same_path(names, sources)
    yield from _same_name(names, sources)
    yield from _same_table(names)


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as exc:
        sys.exit(f"{_place(path)} cannot be read: {exc}")


def _clashes_within(path: str, text: str) -> Iterator[str]:
    """Yield a problem if the new code gives one name to two things."""
    if not path.endswith(".py"):
        return
    try:
        module = ast.parse(text)
        compile(module, path, "exec")
    except SyntaxError as exc:
        yield f"{path} would not be Python ({exc.msg}): {OTHER_NAME}"
        return
    for name, count in Counter(_bound_names(module)).items():
        if count > 1:
            yield f"{name} would mean two things in {path}: choose another name"


def _bound_names(module: ast.Module) -> Iterator[str]:
    """Yield the names that a module binds at its top level."""
    for node in module.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _same_definitions(files: dict[str, str], sources: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield a problem for each class, and each function of a router, that has a name of a new one."""
    new = set()
    for path, text in files.items():
        if path.startswith("src/"):
            new |= {name for name in _definitions(ast.parse(text)) if name != "router"}
    for file, module in sources.items():
        for name in _definitions(module):
            if name in new:
                yield f"{_place(file)} has a {name} already: {OTHER_NAME}"


def _place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _definitions(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef | ast.FunctionDef):
            yield node.name


def _same_path(names: Names, sources: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield a problem for each path of a route that begins like those of the resource."""
    if names.plural in FRAMEWORK_PATHS:
        yield f"/{names.plural} is a path of FastAPI's: {OTHER_NAME}"
    pattern = re.compile(rf"/{names.plural}(/.*)?")
    for file, module in sources.items():
        for node in ast.walk(module):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            if pattern.fullmatch(node.value):
                yield f"{_place(file)}:{node.lineno} has the path {node.value}: {OTHER_NAME}"


def _same_name(names: Names, sources: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield a problem where the plural means something else in the files that will import it."""
    for path in IMPORTING:
        module = sources.get(ROOT / path)
        if module and names.plural in _bound_names(module):
            yield f"{names.plural} means something else in {path}: {OTHER_NAME}"
    for file, module in sources.items():
        for node in ast.walk(module):
            if _is_attribute_of_state(node, names.plural):
                yield f"{_place(file)} has a state.{names.plural} already: {OTHER_NAME}"


def _is_attribute_of_state(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Attribute) or node.attr != name:
        return False
    return ast.unparse(node.value).split(".")[-1] == "state"


def _same_table(names: Names) -> Iterator[str]:
    """Yield a problem if a migration makes a table of this name."""
    pattern = re.compile(rf'CREATE TABLE (IF NOT EXISTS )?\\?"?{names.plural}\b', re.IGNORECASE)
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        if pattern.search(path.read_text(encoding="utf-8")):
            yield f"migrations/versions/{path.name} makes the table {names.plural}: {OTHER_NAME}"
