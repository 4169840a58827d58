"""The bodies of errors: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from .classification import Classification
from .hooks import context_fields

MEDIA_TYPE = "application/problem+json"
TITLES = {status.value: status.phrase for status in HTTPStatus}
TITLES |= {413: "Content Too Large", 422: "Unprocessable Content"}  # Python 3.13 renamed these


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    correlation_id: str
    detail: str | None = None


class InvalidValue(BaseModel):
    """Where a value is not valid, and why."""

    loc: list[str | int]
    type: str
    msg: str


class ValidationProblem(Problem):
    """What is not valid in a request."""

    errors: list[InvalidValue]


def build_body(
    found: Classification, correlation_id: str | None, errors: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the body of an error.

    Args:
        found: what the error deserves.
        correlation_id: the id of the request.
        errors: what is not valid in the request.
    """
    body: dict[str, Any] = {
        "type": found.type,
        "title": TITLES.get(found.status, "Error"),
        "status": found.status,
        "correlation_id": correlation_id,
    }
    if isinstance(found.detail, str):
        body["detail"] = found.detail
    elif found.detail is not None:
        body["context"] = found.detail
    if errors:
        body["errors"] = errors
    for fields in context_fields:
        body |= fields()
    return body
