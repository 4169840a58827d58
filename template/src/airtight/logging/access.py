"""The access line: one for each request, written by us instead of the server."""

import logging
import time
from typing import Any

from ..hooks import request_finished
from .fields import base_fields, request_fields
from .handler import LogHandler

MAX_CLIENT = 64  # characters; a proxy may pass on whatever the client claims to be
logger = logging.getLogger("access")


def log_access(scope: Any, status: int, started_at: float) -> None:
    """Log a request that has ended.

    A record and its way through `logging` cost as much as the rest of the line, so where nobody
    else listens it is written without.

    Args:
        scope: of the request.
        status: of the response.
        started_at: `time.perf_counter()` when the request came.
    """
    seconds = time.perf_counter() - started_at
    fields = request_fields(scope)
    for hook in request_finished:
        hook(fields["method"], fields["route"], status, seconds)
    if not logger.isEnabledFor(logging.INFO):
        return
    client = scope.get("client")
    fields["status"] = status
    fields["duration_ms"] = round(seconds * 1_000, 2)
    fields["client"] = str(client[0])[:MAX_CLIENT] if client else None
    handler = _only_handler()
    if handler is None:
        logger.info("request", extra=fields)
        return
    base = base_fields("access", "INFO", "request", time.time())
    base.update(fields)
    handler.write(base)


def _only_handler() -> LogHandler | None:
    """Return our handler, if no other one wants to have the records of access lines."""
    handlers = logging.root.handlers
    if len(handlers) != 1 or logger.handlers or logger.filters:
        return None
    handler = handlers[0]
    if not isinstance(handler, LogHandler) or handler.log_format == "console":
        return None
    return handler
