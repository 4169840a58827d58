"""The fields of a resource, as `email:str:unique price:decimal? born:date` describes them."""

import re
import sys
from dataclasses import dataclass, replace

from pydantic import BaseModel

from dev.resource.names import NAME_PATTERN, check_form, is_reserved_in_python, quote

USAGE = "such as email:str:unique, born:date?, status:enum(open,paid) or customer:ref(customer)"
FIELD = re.compile(
    r"(?P<name>[^:]*):(?P<type>[a-z]+)(\((?P<arguments>[^()]*)\))?(?P<optional>\?)?(?P<flags>(:\w+)*)"
)
FLAGS = ("unique", "index", "readonly")
OWN = ("id", "created_at", "version")  # which each resource has
TYPES_IN_MODELS = ("bool", "date", "datetime", "int", "str")


@dataclass(frozen=True)
class FieldType:
    """A type of fields.

    Attributes:
        column: its type in PostgreSQL.
        annotation: its type in Python.
        bounds: what Pydantic's `Field` takes to keep values within what the column holds.
        value: an expression for a value, in tests.
        other: one for another value.
        distinct: one for a value that is different each time, where that is possible.
        wrong: one for a value that is refused.
    """

    column: str
    annotation: str
    bounds: str
    value: str
    other: str
    distinct: str
    wrong: str


TYPES = {
    "str": FieldType(
        column="text",
        annotation="str",
        bounds=r'min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"',
        value='"one"',
        other='"another"',
        distinct='f"number {next(NUMBERS)}"',
        wrong='""',
    ),
    "text": FieldType(
        column="text",
        annotation="str",
        bounds=r'max_length=10_000, pattern=r"^[^\x00]*$"',
        value='"two\\nlines"',
        other='"one line"',
        distinct="",
        wrong='"\\x00"',
    ),
    "int": FieldType(
        column="integer",
        annotation="int",
        bounds="ge=-(2**31), lt=2**31",
        value="7",
        other="8",
        distinct="next(NUMBERS)",
        wrong="2**31",
    ),
    "decimal": FieldType(
        column="numeric(12, 2)",
        annotation="Decimal",
        bounds="max_digits=12, decimal_places=2",
        value='"10.50"',
        other='"11.00"',
        distinct='f"{next(NUMBERS)}.50"',
        wrong='"1.999"',
    ),
    "bool": FieldType(
        column="boolean",
        annotation="bool",
        bounds="",
        value="True",
        other="False",
        distinct="",
        wrong='"perhaps"',
    ),
    "date": FieldType(
        column="date",
        annotation="date",
        bounds="",
        value='"2026-01-31"',
        other='"2026-02-01"',
        distinct="str(date(2000, 1, 1) + timedelta(days=next(NUMBERS)))",
        wrong='"2026-02-30"',
    ),
    "datetime": FieldType(
        column="timestamptz",
        annotation="AwareDatetime",
        bounds="ge=datetime(1900, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC)",
        value='"2026-01-31T12:30:00Z"',
        other='"2026-02-01T12:30:00Z"',
        distinct='f"2000-01-01T00:00:00.{next(NUMBERS):06}Z"',
        wrong='"2026-01-31T12:30:00"',
    ),
    "uuid": FieldType(
        column="uuid",
        annotation="UUID",
        bounds="",
        value="str(uuid4())",
        other="str(uuid4())",
        distinct="str(uuid4())",
        wrong='"x"',
    ),
}


@dataclass(frozen=True)
class Field:
    """A field of a resource.

    Attributes:
        name: of the attribute and of the column.
        type_name: one of `TYPES`, `enum` or `ref`.
        type: what the type means.
        optional: whether there may be no value.
        unique: whether no two rows may have the same value.
        index: whether rows are to be found by it fast.
        readonly: whether clients see it, but only the service writes it.
        target: what it refers to, in the singular; empty if it refers to nothing.
    """

    name: str
    type_name: str
    type: FieldType
    optional: bool = False
    unique: bool = False
    index: bool = False
    readonly: bool = False
    target: str = ""

    @property
    def column(self) -> str:
        """Its name in SQL."""
        return quote(self.name)

    @property
    def alias(self) -> str:
        """The name of its type, where that has bounds; empty for other fields."""
        has_bounds = self.type.bounds or self.type_name == "enum"
        return "".join(map(str.capitalize, self.name.split("_"))) if has_bounds else ""

    @property
    def definition(self) -> str:
        """What its alias stands for."""
        if not self.type.bounds:
            return self.type.annotation
        return f"Annotated[{self.type.annotation}, Field({self.type.bounds})]"

    @property
    def annotation(self) -> str:
        """Its type in models."""
        required = self.alias or self.type.annotation
        return f"{required} | None" if self.optional else required


def parse_fields(text: str) -> list[Field]:
    """Return the fields that a text describes; ends the process if one of them cannot be.

    Args:
        text: descriptions with blanks between them.
    """
    descriptions = re.findall(r"(?:\([^()]*\)|\S)+", text)
    if not descriptions:
        sys.exit(f"a resource needs fields, {USAGE}")
    fields = [_parse(description) for description in descriptions]
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f"there are two fields {name}: give each a name of its own")
    return fields


def _parse(description: str) -> Field:
    found = FIELD.fullmatch(description)
    if not found:
        sys.exit(f"{description!r} describes no field: write name:type, {USAGE}")
    flags = found["flags"].split(":")[1:]
    _check_flags(description, flags)
    arguments = [word.strip() for word in (found["arguments"] or "").split(",")]
    field = replace(
        _build(found["name"], found["type"], [word for word in arguments if word]),
        optional=bool(found["optional"]),
        unique="unique" in flags,
        index="index" in flags,
        readonly="readonly" in flags,
    )
    _check_name(field.name)
    _check_type(description, field)
    return field


def _check_flags(description: str, flags: list[str]) -> None:
    for flag in flags:
        if flag not in FLAGS:
            sys.exit(f"{description}: there is no {flag!r}, only {', '.join(FLAGS)}")


def _check_type(description: str, field: Field) -> None:
    if field.unique and not field.type.distinct:
        sys.exit(f"{description}: {field.type_name} cannot be unique")
    if field.index and field.type_name == "text":
        sys.exit(f"{description}: text is too long for an index, str is not")
    if field.readonly and not field.optional:
        sys.exit(f"{description}: nobody sends what is readonly when a row is added: add a ?")


def _build(name: str, type_name: str, arguments: list[str]) -> Field:
    """Return a required field."""
    if type_name == "enum":
        return Field(name, type_name, _enum(name, arguments))
    if type_name == "ref":
        return _reference(name, arguments)
    if type_name not in TYPES:
        known = ", ".join([*TYPES, "enum(a,b)", "ref(other)"])
        sys.exit(f"{name}: there is no type {type_name!r}, only {known}")
    if arguments:
        sys.exit(f"{name}: only enum and ref have something in brackets, not {type_name}")
    return Field(name, type_name, TYPES[type_name])


def _enum(name: str, values: list[str]) -> FieldType:
    are_names = all(NAME_PATTERN.fullmatch(value) for value in values)
    if len(values) < 2 or len(set(values)) < len(values) or not are_names:
        sys.exit(f"{name}: an enum has two or more names, such as enum(open,paid)")
    quoted = [f'"{value}"' for value in values]
    allowed = ", ".join(f"'{value}'" for value in values)
    return FieldType(
        column=f"text CHECK ({quote(name)} IN ({allowed}))",
        annotation=f"Literal[{', '.join(quoted)}]",
        bounds="",
        value=quoted[0],
        other=quoted[1],
        distinct="",
        wrong='"no such value"',
    )


def _reference(name: str, arguments: list[str]) -> Field:
    if len(arguments) != 1 or not NAME_PATTERN.fullmatch(arguments[0]):
        sys.exit(f"{name}: a ref names another resource, such as ref(customer)")
    target = arguments[0]
    create = f'create_{target}(service)["id"]'
    type_ = FieldType(
        column="uuid",
        annotation="UUID",
        bounds="",
        value=create,
        other=create,
        distinct=create,
        wrong='"x"',
    )
    return Field(f"{name.removesuffix('_id')}_id", "ref", type_, target=target)


def _check_name(name: str) -> None:
    check_form(name, "email")
    if name == "l":
        sys.exit("l looks like 1, which `make lint` refuses: use a longer name")
    if name in OWN:
        sys.exit(f"{name}: each resource has {', '.join(OWN)} already; leave it out")
    if is_reserved_in_python(name) or hasattr(BaseModel, name):
        sys.exit(f"{name} is a name of Python's or Pydantic's: try own_{name}")
    if name in TYPES_IN_MODELS:
        sys.exit(f"{name} is the name of a type: try own_{name}")
