"""The bodies of errors: a plain message."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from .classification import Classification

MEDIA_TYPE = "application/json"
PHRASES = {
    status.value: status.phrase
    for status in HTTPStatus
    if status < HTTPStatus.INTERNAL_SERVER_ERROR
}


class Problem(BaseModel):
    """What went wrong."""

    message: Any


class InvalidValue(BaseModel):
    """Where a value is not valid, and why."""

    loc: list[str | int]
    type: str
    msg: str


class ValidationProblem(BaseModel):
    """What is not valid in a request."""

    detail: list[InvalidValue]


def build_body(
    found: Classification, correlation_id: str | None, errors: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the body of an error.

    Args:
        found: what the error deserves.
        correlation_id: the id of the request, which the header holds.
        errors: what is not valid in the request.
    """
    del correlation_id
    if errors:
        return {"detail": errors}
    if found.detail is not None:
        return {"message": found.detail}
    return {"message": PHRASES.get(found.status, "Internal server error")}
