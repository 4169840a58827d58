"""What an exception deserves: a level in the log, a status, and a text that the client may read."""

import asyncio
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import anyio
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from ..utils.errors import APIError, RequestTooLargeError
from .context import RequestContext, current_context, members
from .logging.redaction import describe

NOT_LOGGED = logging.NOTSET
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left; it is logged, never sent
# Starlette's words for an exception that has a handler, but comes after the response has begun.
HANDLED_TOO_LATE = ("Caught handled exception, but response already started.",)
# Starlette's words for a request whose client left while a `BaseHTTPMiddleware` waited.
NO_RESPONSE = ("No response returned.",)
# FastAPI's words for a body that it could not read; the cause says why.
BODY_NOT_READ = "There was an error parsing the body"
# What Python and pydantic say of half a character, such as the JSON "\\ud800", which UTF-8 lacks.
SURROGATES = "surrogates not allowed"
NOT_UNICODE = {
    "loc": ("body",),
    "type": "string_unicode",
    "msg": "Input should be a valid string, unable to parse raw data as a unicode string",
}
# Of RFC 6455, section 7.4.1.
UNSUPPORTED_DATA = 1003
INVALID_DATA = 1007
INTERNAL_ERROR = 1011


@dataclass(frozen=True, slots=True)
class Classification:
    """What an exception deserves.

    Attributes:
        error: the exception that decides, such as the only member of a group.
        level: of its record; `NOT_LOGGED` where there is none.
        status: of the response.
        detail: what the client may read.
        headers: of the response.
        type: the URI reference of the kind of problem.
    """

    error: BaseException
    level: int
    status: int
    detail: Any = None
    headers: Mapping[str, str] | None = None
    type: str = "about:blank"

    @property
    def name(self) -> str:
        """The class of the error, as its record has it."""
        if is_body_limit(self.error):
            return RequestTooLargeError.__name__
        return type(self.error).__qualname__


def classify(exc: BaseException) -> Classification:
    """Return how to answer and log an exception, by how far its request has come."""
    found = _classify(exc)
    context = current_context.get()
    too_late = context is not None and context.response_started
    is_of_client = found.status == CLIENT_CLOSED_REQUEST or close_code(exc) != INTERNAL_ERROR
    if too_late and not is_of_client and found.level < logging.ERROR:
        return replace(found, level=logging.ERROR)  # the client cannot be told any more
    return found


def _classify(exc: BaseException) -> Classification:
    if isinstance(exc, BaseExceptionGroup):
        return _classify_group(exc)
    if isinstance(exc, RequestValidationError | WebSocketRequestValidationError):
        return Classification(exc, logging.WARNING, 422)
    if isinstance(exc, APIError):
        return _classify_own(exc)
    if is_body_limit(exc):
        return replace(_classify_own(RequestTooLargeError()), error=exc)
    if isinstance(exc, HTTPException):
        return _classify_http(exc)
    if isinstance(exc, WebSocketException):
        return Classification(exc, NOT_LOGGED, 403)
    if isinstance(exc, RuntimeError) and exc.args == HANDLED_TOO_LATE and exc.__cause__:
        return _classify(exc.__cause__)
    context = current_context.get()
    if _is_disconnect(exc, context):
        return Classification(exc, NOT_LOGGED, CLIENT_CLOSED_REQUEST)
    if close_code(exc) != INTERNAL_ERROR:
        return Classification(exc, NOT_LOGGED, 400)
    if context and context.may_hold_surrogates and SURROGATES in describe(exc):
        error = RequestValidationError([NOT_UNICODE])
        error.__cause__ = exc  # by which it is known that it was logged
        return Classification(error, logging.WARNING, 422)
    # The guardian of all that nobody has foreseen: a bug to fix, or an own error to define.
    return Classification(exc, logging.CRITICAL, 500)


def _classify_group(group: BaseExceptionGroup[BaseException]) -> Classification:
    errors = members(group)
    found = [_classify(error) for error in errors if error is not group]
    if not found:  # a group of groups that hold each other
        return Classification(group, logging.CRITICAL, 500)
    return max(found, key=lambda classification: (classification.level, classification.status))


def _classify_own(exc: APIError) -> Classification:
    if exc.status_code >= 500:
        return Classification(exc, exc.level, exc.status_code, headers=exc.headers)
    return Classification(
        exc, exc.level, exc.status_code, exc.detail, exc.headers, exc.problem_type()
    )


def _classify_http(exc: HTTPException) -> Classification:
    level = NOT_LOGGED
    if exc.status_code >= 500:
        level = logging.ERROR
    elif exc.detail == BODY_NOT_READ and exc.__cause__:
        if isinstance(exc.__cause__, APIError | ClientDisconnect):
            return _classify(exc.__cause__)
        level = logging.WARNING
    return Classification(exc, level, exc.status_code, exc.detail, exc.headers)


def _is_disconnect(exc: BaseException, context: RequestContext | None) -> bool:
    if isinstance(exc, ClientDisconnect | WebSocketDisconnect):
        return True
    has_left = context is not None and context.client_disconnected
    return has_left and isinstance(exc, RuntimeError) and exc.args == NO_RESPONSE


def is_body_limit(exc: BaseException) -> bool:
    """Return whether this is the 413 of Starlette's own limit of bodies."""
    return isinstance(exc, HTTPException) and type(exc).__name__ == "_RequestBodyTooLarge"


def is_cancelled_from_outside(exc: BaseException) -> bool:
    """Return whether somebody else, such as a server that stops, cancels the current task."""
    if isinstance(exc, Exception):
        return False
    cancelled = anyio.get_cancelled_exc_class()
    if not isinstance(exc, cancelled):
        return False
    if cancelled is not asyncio.CancelledError:
        return True  # trio raises it for no other reason
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def must_propagate(exc: BaseException) -> bool:
    """Return whether somebody outside waits for an exception, so that it may not be swallowed."""
    return isinstance(exc, KeyboardInterrupt | SystemExit) or is_cancelled_from_outside(exc)


def close_code(exc: BaseException) -> int:
    """Return with which code a WebSocket is closed after an exception.

    A text where the application reads bytes is a KeyError in Starlette, the other way round as well.
    """
    if not isinstance(exc, KeyError | ValueError):
        return INTERNAL_ERROR
    functions = [
        frame.f_code.co_name
        for frame, _ in traceback.walk_tb(exc.__traceback__)
        if frame.f_globals.get("__name__") == "starlette.websockets"
    ]
    if not functions or not functions[-1].startswith("receive_"):
        return INTERNAL_ERROR
    if isinstance(exc, KeyError):
        return UNSUPPORTED_DATA
    return INVALID_DATA
