"""The fields of a record: what all have, what its request, its exception and its author add."""

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ...utils.errors import APIError
from ..context import current_context
from ..hooks import context_fields
from ..tracebacks import format_exception
from .redaction import describe, redact, redact_path, redact_text
from .truncation import cut_middle

MAX_EXCEPTION = 16_000  # characters of a traceback
MAX_PATH = 500
MAX_LOGGER = 200
BASE = ("timestamp", "level", "logger", "message", "correlation_id")
# The attributes of each record; `color_message` is uvicorn's, with the same text once more.
STANDARD = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
)
RESERVED = STANDARD.union(BASE, ["exception"])


def base_fields(name: str, level: str, message: str, created: float) -> dict[str, Any]:
    """Return the fields with which each record starts.

    Args:
        name: of the logger.
        level: the name of the level.
        message: the text, without secrets.
        created: the time in seconds since the epoch.
    """
    context = current_context.get()
    fields = {
        "timestamp": format_time(created),
        "level": level,
        "logger": name,
        "message": message,
        "correlation_id": context.correlation_id if context else None,
    }
    if context and context.subject is not None:
        fields["subject"] = context.subject
    for hook in context_fields:
        fields.update(hook())
    return fields


def format_time(created: float) -> str:
    """Return a time, in seconds since the epoch, by ISO 8601, in UTC and with milliseconds."""
    seconds, milliseconds = divmod(int(created * 1_000), 1_000)
    return f"{_format_second(seconds)}.{milliseconds:03}Z"


@lru_cache(maxsize=4)
def _format_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def record_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return all fields of a record, without secrets; its traceback comes last.

    A message that does not format is there as it is, with its arguments, and with the reason in
    `format_error`.
    """
    unformatted: dict[str, Any] = {}
    try:
        message = redact_text(record.getMessage())
    except Exception as bug:  # noqa: BLE001 - whatever the arguments raise, the record counts
        message = redact_text(describe(record.msg))
        unformatted["args"] = redact(record.args)
        unformatted["format_error"] = redact_text(f"{type(bug).__qualname__}: {describe(bug)}")
    fields = base_fields(record.name[:MAX_LOGGER], record.levelname, message, record.created)
    exc = exception_of(record)
    extra: dict[str, Any] = {}
    if exc is not None:
        extra = {"error": type(exc).__qualname__} | own_fields(exc)
    for name, value in vars(record).items():
        if name not in STANDARD and name not in fields:
            extra[name] = value
        elif name == "subject":
            extra["subject_"] = value  # an author's own, such as that of a mail
    fields.update(redact(extra))
    fields.update(unformatted)
    if exc is not None:
        fields["exception"] = describe_exception(exc)
    return fields


def exception_of(record: logging.LogRecord) -> BaseException | None:
    """Return the exception of a record; None if it has none."""
    if not record.exc_info:
        return None
    return record.exc_info[1]


def own_fields(exc: BaseException) -> dict[str, Any]:
    """Return the fields of an error of our own; of any other exception, none."""
    if not isinstance(exc, APIError):
        return {}
    try:
        return as_extra(exc.fields)
    except Exception:  # noqa: BLE001 - a bug in it must not hide the failure
        return {}


def as_extra(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields by names that a record can have; `logging` refuses `name` or `message`."""
    return {f"{name}_" if name in RESERVED else name: value for name, value in fields.items()}


def describe_exception(exc: BaseException) -> str:
    """Return the traceback of an exception, without secrets."""
    try:
        text = format_exception(exc)
    except Exception as bug:  # noqa: BLE001 - an exception may break what shows it
        return f"{type(exc).__qualname__} (its traceback raised {type(bug).__qualname__})"
    return redact_text(cut_middle(text.rstrip(), MAX_EXCEPTION), MAX_EXCEPTION)


def request_fields(scope: Any) -> dict[str, Any]:
    """Return the method and path of a request, and the template of the path that has matched."""
    path = scope["path"][:MAX_PATH]
    route = _matched_path(scope)
    if route is not None and "app_root_path" in scope:
        route = _with_mount(scope, route)
    if path != route:
        path = redact_path(path)
    return {"method": scope.get("method", "WEBSOCKET"), "path": path, "route": route}


def _with_mount(scope: Any, template: str) -> str:
    """Return a path with the prefix of its mount, which a route does not know."""
    mount: str = scope["root_path"].removeprefix(scope["app_root_path"])
    return template if template == mount else f"{mount}{template}"


def _matched_path(scope: Any) -> str | None:
    """Return the path of the route that has matched, with the prefixes of its routers.

    A router that is included keeps its routes as they are; FastAPI notes their full paths beside them.
    """
    route = scope.get("route")
    included = scope["fastapi"].get("effective_route_context") if "fastapi" in scope else None
    if included is None or route is not included.original_route:
        # Of an application that is mounted on the router, or a WebSocket's full path.
        path: str | None = getattr(route, "path", None)
        if included is None or path is not None:
            return path
    full = included.starlette_route or included
    return str(full.path)
