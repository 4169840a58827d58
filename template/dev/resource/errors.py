"""The own errors of a resource."""

from collections.abc import Iterator
from dataclasses import dataclass

from dev.resource.fields import Field
from dev.resource.names import Names


@dataclass(frozen=True)
class OwnError:
    """A class of errors, all of which the service answers below 500.

    Attributes:
        name: of the class.
        docstring: says what happened.
        fact: what it carries, with its type; empty for nothing.
        status: of the response.
        detail: what the client may read.
    """

    name: str
    docstring: str
    fact: str
    status: int
    detail: str

    @property
    def source(self) -> str:
        """The code of the class."""
        decorator = "@dataclasses.dataclass(eq=False)\n" if self.fact else ""
        fact = f"    {self.fact}\n" if self.fact else ""
        return (
            f"{decorator}class {self.name}(APIError):\n"
            f'    """{self.docstring}"""\n\n'
            f"{fact}    status_code = {self.status}\n"
            f'    detail = "{self.detail}"\n'
        )


INVALID_CURSOR = OwnError(
    name="InvalidCursorError",
    docstring="A cursor is none that a page has named.",
    fact="",
    status=400,
    detail="The cursor is not valid: take it from the page before.",
)


def errors_of(names: Names, fields: list[Field], labels: dict[str, str]) -> list[OwnError]:
    """Return the errors of a resource.

    Args:
        names: of the resource.
        fields: of the resource.
        labels: what sentences call the resources that it refers to.
    """
    return [
        _not_found(names),
        *_already_exists(names, fields),
        *_reference(names, labels),
        _stale(names),
        _in_use(names),
    ]


def exists_detail(names: Names, fields: list[Field]) -> str:
    """Return what a client reads where a value must be unique, but is not."""
    unique = [field.name.replace("_", " ") for field in fields if field.unique]
    return f"There is already {names.article} {names.label} with this {' or '.join(unique)}."


def _not_found(names: Names) -> OwnError:
    return OwnError(
        name=f"{names.class_name}NotFoundError",
        docstring=f"There is no such {names.label}.",
        fact=f"{names.singular}_id: object",
        status=404,
        detail=f"There is no {names.label} with this id.",
    )


def _already_exists(names: Names, fields: list[Field]) -> Iterator[OwnError]:
    if any(field.unique for field in fields):
        yield OwnError(
            name=f"{names.class_name}AlreadyExistsError",
            docstring=f"There is such {names.article} {names.label} already.",
            fact="constraint: str",
            status=409,
            detail=exists_detail(names, fields),
        )


def _reference(names: Names, labels: dict[str, str]) -> Iterator[OwnError]:
    if labels:
        yield OwnError(
            name=f"{names.class_name}ReferenceError",
            docstring=f"What {names.article} {names.label} refers to does not exist.",
            fact="constraint: str",
            status=409,
            detail=f"There is no {' or no '.join(labels.values())} with this id.",
        )


def _stale(names: Names) -> OwnError:
    return OwnError(
        name=f"Stale{names.class_name}Error",
        docstring=f"The {names.label} was changed after the client had read it.",
        fact=f"{names.singular}_id: object",
        status=412,
        detail=f"The {names.label} was changed meanwhile: read it again.",
    )


def _in_use(names: Names) -> OwnError:
    return OwnError(
        name=f"{names.class_name}InUseError",
        docstring=f"Something else refers to this {names.label}.",
        fact="constraint: str",
        status=409,
        detail=f"The {names.label} is in use, so it cannot be deleted.",
    )
