"""`make resource`, `python -m dev resource`: reads what is wanted, and writes it or nothing."""

import argparse
import ast
import difflib
import sys
from pathlib import Path

from dev import ROOT
from dev.database import next_revision
from dev.resource.collisions import refuse_collisions
from dev.resource.fields import Field, parse_fields
from dev.resource.names import Names, parse_names
from dev.resource.sources import Resource, new_files
from dev.resource.wiring import edited_files
from src.connectors.migrations import FOLDER, find_heads, read_migrations

USAGE = 'make resource name=customer fields="email:str:unique name:str born:date?"'
NEXT_STEPS = """
These files are yours. Look through them, then:

    make migrate      # makes the table
    make lint test
"""


def run(*arguments: str) -> None:
    """Write a resource; takes its name, its fields and options."""
    options = _parse_arguments(list(arguments))
    names = parse_names(options.name, options.plural)
    fields = parse_fields(" ".join(options.fields))
    resource = plan_resource(names, fields)
    created = new_files(resource)
    refuse_collisions(names, created)
    edited = edited_files(resource, options.skip)
    if options.dry_run:
        show(created, edited)
        return
    for path, text in (created | edited).items():
        write(ROOT / path, text)
        print("edited" if path in edited else "wrote ", path)
    print(NEXT_STEPS)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """End the process."""
        sys.exit(f"{message}; write {USAGE}")


def _parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m dev resource", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", help="in the singular, such as customer")
    parser.add_argument("fields", nargs="*", help="such as email:str:unique born:date?")
    parser.add_argument("--plural", default="", help="where it does not follow the rules")
    parser.add_argument("--dry-run", action="store_true", help="show the files, write nothing")
    parser.add_argument("--skip", action="append", default=[], help="a file to edit by hand")
    return parser.parse_intermixed_args(arguments)


def plan_resource(names: Names, fields: list[Field]) -> Resource:
    """Return the resource that is to be made; ends the process if it cannot be."""
    targets = {}
    for field in fields:
        if field.target == names.singular:
            if not field.optional:
                sys.exit(f"{field.name}: the first {names.label} has none to refer to: add a ?")
            targets[field.target] = names
        elif field.target:
            targets[field.target] = _find_target(field)
    if all(field.target == names.singular or field.readonly for field in fields):
        sys.exit(f"{names.singular} needs a field that is neither readonly nor a ref to its kind")
    migrations = read_migrations(FOLDER)
    revision = next_revision(migrations)
    heads = find_heads(migrations)
    return Resource(names, fields, targets, revision, heads[0] if heads else None)


def _find_target(field: Field) -> Names:
    """Return the names of an existing resource, by what its tests create it with."""
    function = f"create_{field.target}"
    for path in sorted((ROOT / "tests" / "support").glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name == function:
                return Names(field.target, path.stem)
    sys.exit(
        f"{field.name}: there is no resource {field.target} to refer to: make that first, or add "
        f"its table by hand and write uuid instead of ref({field.target})"
    )


def show(created: dict[str, str], edited: dict[str, str]) -> None:
    """Print what would be written: new files with their length, and new lines of the others."""
    for path, text in created.items():
        print(f"new     {path} ({len(text.splitlines())} lines)")
    for path, text in edited.items():
        print(f"edit    {path}")
        before = (ROOT / path).read_text(encoding="utf-8").splitlines()
        for line in difflib.ndiff(before, text.splitlines()):
            if line.startswith("+ "):
                print(f"        {line}".rstrip())


def write(path: Path, text: str) -> None:
    """Write a file, and its folder if that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
