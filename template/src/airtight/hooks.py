"""Functions that are called for each request, message, call and failure.

Metrics, traces and reports of failures register theirs here; a service may register its own. A
function is called in the path of a request, so it must return at once.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

Hook = TypeVar("Hook", bound=Callable[..., Any])

# With the ASGI scope and the correlation id.
request_started: list[Callable[[Any, str], None]] = []
# With the method, the route, the status and the seconds.
request_finished: list[Callable[[str, str | None, int, float], None]] = []
# With the message's fields, and with the fields of its log record.
message_started: list[Callable[[dict[bytes, bytes], dict[str, Any]], None]] = []
# With the outcome and the seconds.
message_finished: list[Callable[[str, float], None]] = []
# With the request to another service; returns what is entered around the call.
call_started: list[Callable[[Any], AbstractContextManager[None]]] = []
# With the name of a command to a store; returns what is entered around it.
command_started: list[Callable[[str], AbstractContextManager[None]]] = []
# With a new connection to a database.
connection_opened: list[Callable[[Any], Awaitable[None]]] = []
# With headers; adds those by which another process continues the trace.
trace_injectors: list[Callable[[dict[str, str]], None]] = []
# With the record and its redacted fields.
failure_logged: list[Callable[[logging.LogRecord, dict[str, Any]], None]] = []
# Returns fields for each record, and for the body of each error.
context_fields: list[Callable[[], dict[str, str]]] = []
# Is awaited after the last request.
service_stopped: list[Callable[[], Awaitable[None]]] = []


def register(hooks: list[Hook], hook: Hook) -> None:
    """Add a function to one of the lists, unless it is there already.

    Args:
        hooks: one of the lists of this module.
        hook: the function.
    """
    if hook not in hooks:
        hooks.append(hook)
