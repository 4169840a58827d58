"""The handlers: every error becomes one record and one answer."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import Scope
from starlette.websockets import WebSocketDisconnect

# copier: if error_format == "message"
from src.airtight import message as bodies
# copier: endif
# copier: if error_format == "problem"
from src.airtight import problem as bodies
# copier: endif
from src.utils.errors import APIError
from src.airtight.context import current_context
from src.airtight.logging.handler import SECRET, redact, request_fields, report_exception, to_json
from src.airtight.tracebacks import invalid_values

# copier: if false
# isort: on
# fmt: on
# copier: endif
TOO_LATE = ("Caught handled exception, but response already started.",)  # Starlette's words
NO_RESPONSE = ("No response returned.",)  # Starlette's, when the client has left
HANDLED = (
    RequestValidationError,
    WebSocketRequestValidationError,
    APIError,
    HTTPException,
    Exception,
)
SECRET_PAIR = re.compile(
    rf"""({SECRET.pattern})([\w.-]*["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|[^\s,;&}}]+)""", re.I
)
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Error", "content": {bodies.MEDIA_TYPE: {"schema": bodies.SCHEMA}}},
    422: {
        "description": "Invalid request",
        "content": {bodies.MEDIA_TYPE: {"schema": bodies.INVALID}},
    },
}


def classify(exc: BaseException) -> tuple[int, int, Any, Mapping[str, str] | None, BaseException]:
    """Return the level (0: not told), status, public text and headers an error deserves, and whom to blame."""
    cause, context = exc.__cause__, current_context.get()
    match exc:
        case RequestValidationError() | WebSocketRequestValidationError():
            return logging.WARNING, 422, None, None, exc
        case APIError():
            return (
                exc.level,
                exc.status_code,
                exc.detail if exc.status_code < 500 else None,
                exc.headers,
                exc,
            )
        case HTTPException() if isinstance(
            cause, APIError | ClientDisconnect
        ):  # raised as the body was read
            return classify(cause)
        case HTTPException():  # with another cause: FastAPI could not read the body
            level = (
                logging.ERROR
                if exc.status_code >= 500
                else logging.WARNING
                if cause
                else logging.NOTSET
            )
            return level, exc.status_code, exc.detail, exc.headers, exc
        case BaseExceptionGroup():
            return max(map(classify, exc.exceptions), key=lambda verdict: verdict[:2])
        case RuntimeError() if exc.args == TOO_LATE and cause:
            return max(classify(cause)[0], logging.ERROR), *classify(cause)[1:]
        case RuntimeError() if exc.args == NO_RESPONSE and context and context.client_disconnected:
            return logging.NOTSET, 499, None, None, exc
        case ClientDisconnect() | WebSocketDisconnect():
            return logging.NOTSET, 499, None, None, exc
    return (
        logging.CRITICAL,
        500,
        None,
        None,
        exc,
    )  # the guardian: a bug, or an own error yet to be defined


def install(app: Starlette) -> None:
    """Handle the errors of an application, and of those mounted in it, where they have no handler of their own."""
    for kind in HANDLED:
        if getattr(app.exception_handlers.get(kind), "__module__", "fastapi").startswith("fastapi"):
            app.exception_handlers[kind] = handle
    for route in app.routes:
        if isinstance(mounted := getattr(route, "app", None), Starlette):
            install(mounted)


async def handle(connection: HTTPConnection, exc: Exception) -> Response:
    """Answer an error; one on a WebSocket is left to the guard, which knows how far it has come."""
    if connection.scope["type"] == "websocket":
        raise exc
    return answer(connection.scope, exc)


def answer(scope: Scope, exc: BaseException) -> Response:
    """Report an error, unless that was done, and return the response to it."""
    level, status, detail, headers, blamed = classify(exc)
    errors, context = invalid_values(blamed) if status == 422 else [], current_context.get()
    if level:
        facts = {"error": type(blamed).__qualname__, "status": status, **request_fields(scope)}
        if errors:
            facts |= {"errors": errors[:5], "body": _shown(getattr(blamed, "body", None))}
        several = isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) > 1
        report_exception(
            exc if several else blamed, level, "request is not valid" if errors else "", **facts
        )
    if context:
        context.mark_reported(exc)
    if not is_body_allowed_for_status_code(status):
        return Response(status_code=status, headers=headers)
    body = bodies.body_of(status, detail, context.correlation_id if context else None, errors)
    return Response(to_json(body), status, headers, bodies.MEDIA_TYPE)


def _shown(body: Any) -> str:
    """Return as much of a request's body as a record holds, 1,500 bytes, without secrets."""
    text = body[:3_000] if isinstance(body, str) else to_json(redact(body)).decode()
    text = "".join(
        char if char.isprintable() else " " for char in SECRET_PAIR.sub(r"\1\2***", text)
    )
    return text.encode()[:1_500].decode(errors="ignore")
