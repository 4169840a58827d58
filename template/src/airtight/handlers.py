"""The exception handlers: every error becomes one record and one response."""

import inspect
import logging
from collections.abc import Iterator
from typing import Any

from fastapi import BackgroundTasks
from fastapi import exception_handlers as fastapi_defaults
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from starlette.applications import Starlette
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope
from starlette.websockets import WebSocket

from ..utils.errors import APIError, RequestTooLargeError
from .bodies import MEDIA_TYPE, build_body
from .classification import Classification, classify, is_body_limit
from .context import current_context, get_correlation_id
from .logging import redact, redact_text, report_exception, request_fields, to_json
from .tracebacks import invalid_values, walk_traceback

HANDLED = (
    RequestValidationError,
    WebSocketRequestValidationError,
    APIError,
    HTTPException,
    Exception,
)
FASTAPI_DEFAULTS = (
    fastapi_defaults.http_exception_handler,
    fastapi_defaults.request_validation_exception_handler,
    fastapi_defaults.websocket_request_validation_exception_handler,
)
# They describe the body that an upstream sent; the body of the error is another one.
BODY_HEADERS = ("content-encoding", "content-length", "content-type", "transfer-encoding")
RUNS_TASKS = (BackgroundTasks.__call__.__code__, StarletteBackgroundTasks.__call__.__code__)
SHOWN_BODY = 1_500  # bytes of a body that is not valid
MAX_APPLICATIONS = 1_000
POLICY_VIOLATION = 1008


def register_exception_handlers(app: Starlette) -> None:
    """Register the handlers for the errors for which an application has none of its own."""
    handlers: dict[Any, Any] = app.exception_handlers
    for error_class in HANDLED:
        if error_class is Exception and 500 in handlers:
            continue
        if error_class not in handlers or handlers[error_class] in FASTAPI_DEFAULTS:
            handlers[error_class] = handle_exception


def find_mounted(app: Any) -> Iterator[Starlette]:
    """Yield the applications that are mounted in one, at any depth, also behind middleware."""
    seen = {id(app)}
    pending = list(_parts(app))
    while pending and len(seen) < MAX_APPLICATIONS:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Starlette):
            yield part
        pending.extend(_parts(part))


def _parts(owner: Any) -> Iterator[Any]:
    for name in ("app", "original_router"):
        part = getattr(owner, name, None)
        if part is not None:
            yield part
    routes = getattr(owner, "routes", None)
    if isinstance(routes, list):
        yield from routes


async def handle_exception(connection: HTTPConnection, exc: Exception) -> Response | None:
    """Log an exception and return the response to it; close a WebSocket that was accepted."""
    scope = connection.scope
    if scope["type"] != "websocket":
        return await respond(scope, exc)
    found = classify(exc)
    if found.level >= logging.CRITICAL:
        raise exc  # the boundary closes the connection, and tests see the exception
    response = build_error_response(scope, exc)
    context = current_context.get()
    accepted = context is not None and context.response_started
    has_denial = "websocket.http.response" in scope.get("extensions", {})
    is_validation = isinstance(found.error, WebSocketRequestValidationError)
    if not accepted and has_denial and not (is_validation and "asgi" not in scope):
        return response
    if isinstance(connection, WebSocket):
        await connection.close(POLICY_VIOLATION if found.status < 500 else 1011)
    return None


async def respond(scope: Scope, exc: BaseException) -> Response:
    """Log an exception and return the response to it.

    A body over the limit is answered by the user's own handler, if there is one for
    `RequestTooLargeError` or for 413.
    """
    error = classify(exc).error
    if is_body_limit(error):
        _keep_response(scope)
        error = RequestTooLargeError()
    if isinstance(error, RequestTooLargeError):
        handler = _own_handler(scope, error)
        if handler is not None:
            response: Response = await _call(handler, Request(scope), error)
            return response
    return build_error_response(scope, exc)


def _keep_response(scope: Scope) -> None:
    """Keep Starlette from replacing the response to a body over the limit by plain text."""
    responder: Any = scope.get("starlette._body_limit_responder")
    if hasattr(responder, "content_length"):
        responder.content_length = None


def _own_handler(scope: Scope, exc: RequestTooLargeError) -> Any:
    handlers: dict[Any, Any] = getattr(scope.get("app"), "exception_handlers", {})
    for key in (RequestTooLargeError, exc.status_code):
        if handlers.get(key) not in (None, handle_exception):
            return handlers[key]
    return None


async def _call(handler: Any, request: Request, exc: BaseException) -> Any:
    if inspect.iscoroutinefunction(handler):
        return await handler(request, exc)
    return await run_in_threadpool(handler, request, exc)


def build_error_response(scope: Scope, exc: BaseException) -> Response:
    """Log an exception, unless that was done, and return the response to it."""
    found = classify(exc)
    errors = invalid_values(found.error) if found.status == 422 else []
    if found.level:
        _log(scope, exc, found, errors)
    context = current_context.get()
    if context:
        context.mark_reported(exc)
    headers = _without_body_headers(found.headers)
    if not is_body_allowed_for_status_code(found.status):
        return Response(status_code=found.status, headers=headers)
    body = build_body(found, get_correlation_id(), errors)
    return Response(to_json(body), found.status, headers, MEDIA_TYPE)


def _log(
    scope: Scope, exc: BaseException, found: Classification, errors: list[dict[str, Any]]
) -> None:
    fields = {"error": found.name, "status": found.status}
    fields |= request_fields(scope)
    message = ""
    if isinstance(found.error, RequestValidationError | WebSocketRequestValidationError):
        message = "request is not valid"
        fields["errors"] = errors[:5]
        fields["body"] = _describe_body(getattr(found.error, "body", None))
    skipped = skipped_tasks(found.error)
    if skipped:
        fields["skipped_tasks"] = skipped
    is_group = isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) > 1
    report_exception(exc if is_group else found.error, found.level, message, **fields)


def skipped_tasks(exc: BaseException) -> list[str]:
    """Return the names of the background tasks that did not run because one before them failed."""
    for frame in walk_traceback(exc):
        if frame.f_code in RUNS_TASKS:
            tasks = frame.f_locals["self"].tasks
            position = tasks.index(frame.f_locals["task"])
            return [getattr(t.func, "__name__", repr(t.func)) for t in tasks[position + 1 :]]
    return []


def _without_body_headers(headers: Any) -> dict[str, str] | None:
    if not headers:
        return None
    return {name: value for name, value in headers.items() if name.lower() not in BODY_HEADERS}


def _describe_body(body: Any) -> str:
    """Return as much of a body as a record holds, without secrets."""
    text = redact_text(body) if isinstance(body, str) else to_json(redact(body)).decode()
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    return text.encode()[:SHOWN_BODY].decode(errors="ignore")
