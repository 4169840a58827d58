"""The new files of a resource."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mako.template import Template

from dev import ROOT
from dev.resource.errors import OwnError, errors_of, exists_detail
from dev.resource.fields import Field
from dev.resource.names import Names, quote

TEMPLATES = Path(__file__).with_name("templates")
# What the first resource brings along, for all of them.
SHARED = {
    "src/models/page.py": "page.py",
    "src/api/resources.py": "resources.py",
    "tests/unit/test_page.py": "test_page.py",
}


# Modules that do not exist yet would count as those of others.
FIRST_PARTY = 'lint.isort.known-first-party=["dev", "src", "tests"]'


@dataclass(frozen=True)
class Resource:
    """A resource that is to be made.

    Attributes:
        names: what it is called.
        fields: what it holds besides its id, its time and its version.
        targets: the resources that it refers to, by their singular.
        revision: of its migration.
        down_revision: of the migration before; None if it is the first.
    """

    names: Names
    fields: list[Field]
    targets: dict[str, Names]
    revision: str
    down_revision: str | None

    @property
    def written(self) -> list[Field]:
        """The fields that clients write."""
        return [field for field in self.fields if not field.readonly]

    @property
    def errors(self) -> list[OwnError]:
        """Its own errors."""
        labels = {
            field.target: self.targets[field.target].label for field in self.written if field.target
        }
        return errors_of(self.names, self.written, labels)


def new_files(resource: Resource) -> dict[str, str]:
    """Return the text of each new file by its path, formatted."""
    names = resource.names
    templates = {
        f"migrations/versions/{resource.revision}_{names.plural}.py": "migration.py",
        f"src/models/{names.singular}.py": "model.py",
        f"src/clients/{names.plural}.py": "repository.py",
        f"src/services/{names.plural}.py": "service.py",
        f"src/api/{names.plural}.py": "router.py",
        f"tests/support/{names.plural}.py": "support.py",
        f"tests/unit/test_{names.plural}.py": "test_unit.py",
        f"tests/integration/test_{names.plural}.py": "test_integration.py",
    }
    templates |= {path: name for path, name in SHARED.items() if not (ROOT / path).exists()}
    values = template_values(resource)
    files = {path: tidy(path, _render(name, values)) for path, name in templates.items()}
    if not (ROOT / "src/models/__init__.py").exists():
        files["src/models/__init__.py"] = ""
    return files


def template_values(resource: Resource) -> dict[str, Any]:
    """Return what templates use; the name of a customer stands for that of each resource."""
    names = resource.names
    fields = resource.written
    sent = [field for field in fields if field.target != names.singular]
    return {
        "customer": names.singular,
        "customers": names.plural,
        "Customer": names.class_name,
        "CUSTOMER": names.singular.upper(),
        "CUSTOMERS": names.plural.upper(),
        "label": names.label,
        "labels": names.labels,
        "Labels": names.labels.capitalize(),
        "a": names.article,
        "A": names.article.capitalize(),
        "all_fields": resource.fields,
        "fields": fields,
        "readonly": [field for field in resource.fields if field.readonly],
        "required": [field for field in fields if not field.optional],
        "optional": [field for field in fields if field.optional],
        "unique": [field for field in fields if field.unique],
        "references": [field for field in fields if field.target],
        "sent": sent,
        "change": _field_to_change(sent),
        "foreign": [target for name, target in resource.targets.items() if name != names.singular],
        "needs_numbers": any("NUMBERS" in field.type.distinct for field in fields if field.unique),
        "errors": resource.errors,
        "write_errors": [error for error in resource.errors if _is_about_writing(error)],
        "exists_detail": exists_detail(names, fields),
        **_sql_values(resource),
    }


def _sql_values(resource: Resource) -> dict[str, Any]:
    table = quote(resource.names.plural)
    placeholders = [f"${number}" for number in range(1, len(resource.written) + 2)]
    indexed = [field.column for field in resource.fields if _needs_index(field)]
    parent = resource.down_revision
    return {
        "table": table,
        "escaped_table": escape(table),
        "placeholders": ", ".join(placeholders),
        "column_definitions": list(_column_definitions(resource)),
        "indexed": [escape(column) for column in indexed],
        "revision": resource.revision,
        "parent": f'"{parent}"' if parent else "None",
    }


def _column_definitions(resource: Resource) -> Iterator[str]:
    for field in resource.fields:
        column_type, _, check = field.type.column.partition(" CHECK ")
        parts = [field.column, column_type]
        if not field.optional:
            parts.append("NOT NULL")
        if field.unique:
            parts.append("UNIQUE")
        if check:
            parts.append(f"CHECK {check}")
        if field.target:
            parts.append(f"REFERENCES {quote(resource.targets[field.target].plural)}")
        yield " ".join(parts)


def _needs_index(field: Field) -> bool:
    """Return whether rows are found by a field; what is unique has an index anyway."""
    return not field.unique and (field.index or field.target != "")


def _field_to_change(sent: list[Field]) -> Field:
    """Return the field that tests change: a plain one, if there is one."""
    return min(sent, key=lambda field: (field.target != "", field.unique))


def _is_about_writing(error: OwnError) -> bool:
    return error.name.endswith(("AlreadyExistsError", "ReferenceError"))


def escape(name: str) -> str:
    """Return a name of SQL as it stands in a string of Python."""
    return name.replace('"', r"\"")


def _render(name: str, values: dict[str, Any]) -> str:
    file = TEMPLATES / f"{name}.mako"
    template = Template(  # noqa: S702 - what comes out is Python, not HTML
        filename=str(file), strict_undefined=True, input_encoding="utf-8"
    )
    text: str = template.render(**values)
    return text


def tidy(path: str, text: str) -> str:
    """Return code as `make format` leaves it, without imports that are not used.

    Args:
        path: of the file.
        text: the code.
    """
    return format_code(path, fix_imports(path, text))


def fix_imports(path: str, text: str) -> str:
    """Return code with its imports sorted, and without those that are not used."""
    rules = ("--fix-only", "--select=F401,I", f"--config={FIRST_PARTY}")
    return _run_ruff(text, "check", *rules, f"--stdin-filename={path}")


def format_code(path: str, text: str) -> str:
    """Return code with the layout that ruff gives it."""
    return _run_ruff(text, "format", f"--stdin-filename={path}")


def _run_ruff(text: str, *arguments: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), *arguments, "--quiet", "-"]
    done = subprocess.run(
        command, cwd=ROOT, input=text, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        sys.exit(f"ruff cannot read this code:\n{textwrap.indent(text, '    ')}{done.stderr}")
    return done.stdout
