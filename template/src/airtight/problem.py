"""The bodies of errors: problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from src.airtight.hooks import context_fields

MEDIA_TYPE = "application/problem+json"
TITLES = {status.value: status.phrase for status in HTTPStatus}
TITLES |= {413: "Content Too Large", 422: "Unprocessable Content"}  # Python has renamed these two
TEXT = {"type": "string"}
REASON = {"type": "object", "properties": {"loc": {"type": "array"}, "type": TEXT, "msg": TEXT}}
FIELDS = {"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "correlation_id": TEXT}
NEEDED = list(FIELDS)
# copier: if "opentelemetry" in observability
FIELDS |= {"trace_id": TEXT, "span_id": TEXT}  # where traces are on
# copier: endif
SCHEMA = {"type": "object", "properties": FIELDS | {"detail": TEXT}, "required": NEEDED}
INVALID = SCHEMA | {"properties": FIELDS | {"errors": {"type": "array", "items": REASON}}}


def body_of(
    status: int, detail: Any, correlation_id: str | None, errors: list[Any]
) -> dict[str, Any]:
    """Return a body; `detail` is what the client may read, `errors` what is wrong with the request."""
    optional = {"detail" if isinstance(detail, str) else "context": detail, "errors": errors}
    body = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status}
    for give in context_fields:
        optional |= give()
    return (
        body
        | {"correlation_id": correlation_id}
        | {name: fact for name, fact in optional.items() if fact}
    )
