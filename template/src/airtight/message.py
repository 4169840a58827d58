"""The bodies of errors: a plain message."""

from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/json"
PHRASES = {
    status.value: status.phrase
    for status in HTTPStatus
    if status < HTTPStatus.INTERNAL_SERVER_ERROR
}
TEXT = {"type": "string"}
REASON = {"type": "object", "properties": {"loc": {"type": "array"}, "type": TEXT, "msg": TEXT}}
SCHEMA = {"type": "object", "properties": {"message": {}}, "required": ["message"]}
INVALID = {
    "type": "object",
    "properties": {"detail": {"type": "array", "items": REASON}},
    "required": ["detail"],
}


def body_of(
    status: int, detail: Any, correlation_id: str | None, errors: list[Any]
) -> dict[str, Any]:
    """Return a body; `detail` is what the client may read, `errors` what is wrong with the request."""
    return (
        {"detail": errors}
        if errors
        else {"message": detail or PHRASES.get(status, "Internal server error")}
    )
