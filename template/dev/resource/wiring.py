"""The edits of existing files that make a resource part of the service.

The code is parsed and printed again by libcst, so that whatever is not edited stays as it is,
comments and blank lines included.
"""

import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import libcst as cst
from libcst import matchers as m
from libcst.codemod import CodemodContext
from libcst.codemod.visitors import AddImportsVisitor

from dev import ROOT
from dev.resource.errors import INVALID_CURSOR, OwnError
from dev.resource.sources import Resource, fix_imports, format_code

ERRORS = "src/utils/errors.py"
DEPENDENCIES = "src/api/dependencies.py"
ROUTERS = "src/api/routers.py"
MAIN = "src/main.py"
# A row of the tree at the top of the errors: indented name, status and level.
ROW = re.compile(r"(?m)^( +)(\w+Error)( +)\d{3}  [A-Z]+$")


ROUTER_LIST = m.OneOf(
    m.AnnAssign(m.Name("ROUTERS"), value=m.List()),
    m.Assign([m.AssignTarget(m.Name("ROUTERS"))], m.List()),
)
HEALTH_ROUTER = m.Element(m.Attribute(m.Name("health"), m.Name("router")))
COLLECT = m.Expr(m.Call(m.Attribute(m.Name("gc"), m.Name("collect"))))
LAST_STEPS = m.SimpleStatementLine([m.OneOf(COLLECT, m.Expr(m.Yield()))])
LINE_BREAK = cst.ParenthesizedWhitespace(
    first_line=cst.TrailingWhitespace(), indent=True, last_line=cst.SimpleWhitespace("    ")
)


class PlaceNotFoundError(Exception):
    """A file has changed too much for this edit."""


@dataclass(frozen=True)
class Edit:
    """What a resource changes in a file.

    Attributes:
        path: of the file.
        apply: returns the edited code; raises PlaceNotFoundError.
        lines: the same for somebody who has to do it by hand.
    """

    path: str
    apply: Callable[[cst.Module], cst.Module]
    lines: str


def edited_files(resource: Resource, skipped: list[str]) -> dict[str, str]:
    """Return the new text of each file that has to be edited; ends the process if one cannot be.

    Args:
        resource: what becomes part of the service.
        skipped: paths of files that somebody edits by hand.
    """
    files = {}
    for edit in edits_for(resource):
        if edit.path not in skipped:
            files[edit.path] = _apply(edit)
    return files


def edits_for(resource: Resource) -> list[Edit]:
    """Return the edits that make a resource part of the service."""
    return [
        _edit_errors(resource),
        _edit_dependencies(resource),
        _edit_routers(resource),
        _edit_main(resource),
    ]


def _apply(edit: Edit) -> str:
    try:
        text = (ROOT / edit.path).read_text(encoding="utf-8")
        edited = edit.apply(cst.parse_module(text)).code
    except (OSError, cst.ParserSyntaxError, PlaceNotFoundError) as exc:
        reason = str(exc).splitlines()[0]
        sys.exit(
            f"nothing is written, since {edit.path} cannot be edited: {reason}\n"
            f"Add --skip={edit.path}, and by hand these lines:\n\n"
            f"{textwrap.indent(edit.lines, '    ')}"
        )
    # What was in order before is put in order again; what was not is left as it is.
    for put_in_order in (fix_imports, format_code):
        if put_in_order(edit.path, text) == text:
            edited = put_in_order(edit.path, edited)
    return edited


def _edit_errors(resource: Resource) -> Edit:
    errors = [*resource.errors]
    if not _defines(INVALID_CURSOR):
        errors.append(INVALID_CURSOR)
    code = "\n\n".join(error.source for error in errors)

    def apply(module: cst.Module) -> cst.Module:
        if not any(m.matches(node, m.ClassDef(m.Name("APIError"))) for node in module.body):
            raise PlaceNotFoundError("it has no class APIError")
        return _with_rows(_append(module, code), errors)

    return Edit(ERRORS, apply, code)


def _defines(error: OwnError) -> bool:
    text = (ROOT / ERRORS).read_text(encoding="utf-8") if (ROOT / ERRORS).exists() else ""
    return f"class {error.name}(" in text


def _with_rows(module: cst.Module, errors: list[OwnError]) -> cst.Module:
    """Add rows to the tree in the docstring, if it has a tree."""
    docstring = module.body[0]
    if not m.matches(docstring, m.SimpleStatementLine([m.Expr(m.SimpleString())])):
        return module
    text = cst.Module([docstring]).code
    rows = list(ROW.finditer(text))
    if not rows:
        return module
    below_root = min(len(row[1]) for row in rows) + 2
    width = max(len(row[1] + row[2] + row[3]) for row in rows) - below_root
    level = "INFO"
    added = [f"\n{' ' * below_root}{error.name:{width}}{error.status}  {level}" for error in errors]
    end = rows[-1].end()
    edited = f"{text[:end]}{''.join(added)}{text[end:]}"
    return module.with_changes(body=[*cst.parse_module(edited).body, *module.body[1:]])


def _edit_dependencies(resource: Resource) -> Edit:
    names = resource.names
    service = f"{names.plural}.{names.class_name}Service"
    function = (
        f"async def get_{names.singular}_service(request: Request) -> {service}:\n"
        f'    """Return what is done with {names.labels}."""\n'
        f"    service: {service} = request.app.state.{names.plural}\n"
        f"    return service\n"
    )
    alias = (
        f"{names.class_name}ServiceDep = "
        f"Annotated[{service}, Depends(get_{names.singular}_service)]\n"
    )

    def apply(module: cst.Module) -> cst.Module:
        functions = [i for i, node in enumerate(module.body) if isinstance(node, cst.FunctionDef)]
        if not functions:
            raise PlaceNotFoundError("it has no function")
        module = _insert(module, functions[-1] + 1, f"\n\n{function}")
        return _import(_append(module, alias), "src.services", names.plural)

    lines = f"from src.services import {names.plural}\n\n\n{function}\n\n{alias}"
    return Edit(DEPENDENCIES, apply, lines)


def _edit_routers(resource: Resource) -> Edit:
    name = resource.names.plural

    def apply(module: cst.Module) -> cst.Module:
        for assignment in m.findall(module, ROUTER_LIST):
            routers = cst.ensure_type(m.findall(assignment, m.List())[0], cst.List)
            changed = module.deep_replace(routers, _with_router(routers, name))
            return _import(cst.ensure_type(changed, cst.Module), "src.api", name)
        raise PlaceNotFoundError("it has no list ROUTERS")

    return Edit(ROUTERS, apply, f"from src.api import {name}\n\nROUTERS = [{name}.router, ...]\n")


def _with_router(routers: cst.List, name: str) -> cst.List:
    """Add a router to the list, before that of the health checks if it is there."""
    router = cst.Element(cst.parse_expression(f"{name}.router"))
    elements = list(routers.elements)
    places = [i for i, element in enumerate(elements) if m.matches(element, HEALTH_ROUTER)]
    if not places:
        return routers.with_changes(elements=[*elements, router])
    place = places[0]
    # A comment above the place belongs to the bracket or the comma before it; it moves down.
    if place == 0:
        comment = routers.lbracket.whitespace_after
        routers = routers.with_changes(lbracket=cst.LeftSquareBracket(LINE_BREAK))
    else:
        before = elements[place - 1]
        comment = cst.ensure_type(before.comma, cst.Comma).whitespace_after
        comma = cst.Comma(whitespace_after=LINE_BREAK)
        elements[place - 1] = before.with_changes(comma=comma)
    router = router.with_changes(comma=cst.Comma(whitespace_after=comment))
    return routers.with_changes(elements=[*elements[:place], router, *elements[place:]])


def _edit_main(resource: Resource) -> Edit:
    names = resource.names
    module_name = f"src.services.{names.plural}"
    function = f"build_{names.singular}_service"
    statement = f"state.{names.plural} = {function}(postgres)\n"

    def apply(module: cst.Module) -> cst.Module:
        for lifespan in m.findall(module, m.FunctionDef(m.Name("lifespan"))):
            changed = module.deep_replace(lifespan, _with_statement(lifespan, statement))
            return _import(cst.ensure_type(changed, cst.Module), module_name, function)
        raise PlaceNotFoundError("it has no function lifespan")

    lines = (
        f"from {module_name} import {function}\n\n"
        f"# in lifespan, after `await readiness.check()`\n{statement}"
    )
    return Edit(MAIN, apply, lines)


def _with_statement(lifespan: cst.CSTNode, statement: str) -> cst.CSTNode:
    """Add a statement to the lifespan, before it collects garbage or lets the service run."""
    for name in ("postgres", "state"):
        if not m.findall(lifespan, m.AssignTarget(m.Name(name))):
            raise PlaceNotFoundError(f"its lifespan has no variable {name}")
    for block in m.findall(lifespan, m.IndentedBlock()):
        body = list(cst.ensure_type(block, cst.IndentedBlock).body)
        for place, step in enumerate(body):
            if m.matches(step, LAST_STEPS):
                body.insert(place, cst.parse_statement(statement))
                return _changed(lifespan.deep_replace(block, block.with_changes(body=body)))
    raise PlaceNotFoundError("its lifespan does not yield")


def _changed(node: cst.CSTNode | cst.RemovalSentinel) -> cst.CSTNode:
    return cst.ensure_type(node, cst.FunctionDef)


def _append(module: cst.Module, code: str) -> cst.Module:
    return _insert(module, len(module.body), code)


def _insert(module: cst.Module, place: int, code: str) -> cst.Module:
    """Insert code before a statement of a module."""
    added = cst.parse_module(code)
    # Comments that are not followed by code stand in the footer.
    body = [*module.body[:place], *_statements(added), *module.body[place:]]
    return module.with_changes(body=body)


def _statements(module: cst.Module) -> list[cst.BaseCompoundStatement | cst.SimpleStatementLine]:
    """Return the statements of a module, with the blank lines at its start."""
    first, *others = module.body
    first = first.with_changes(leading_lines=[*module.header, *first.leading_lines])
    return [first, *others]


def _import(module: cst.Module, source: str, name: str) -> cst.Module:
    """Add `from source import name`, to an import from there if there is one."""
    context = CodemodContext()
    AddImportsVisitor.add_needed_import(context, source, name)
    return AddImportsVisitor(context).transform_module(module)
