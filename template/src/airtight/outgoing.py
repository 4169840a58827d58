"""What goes to other services, and into messages, of the request that they belong to."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from .context import get_correlation_id
from .hooks import call_started, trace_carriers


def observe_calls(id_header: str) -> Callable[[Any], AbstractContextManager[None]]:
    """Return what a client enters around each call, with its request.

    Args:
        id_header: the header in which the correlation id is passed on.
    """

    @contextmanager
    def observe(request: Any) -> Iterator[None]:
        correlation_id = get_correlation_id()
        if correlation_id:
            request.headers[id_header] = correlation_id
        with ExitStack() as stack:
            for enter in call_started:
                stack.enter_context(enter(request))
            yield

    return observe


def trace_headers() -> dict[str, str]:
    """Return the headers by which another process continues the current trace, if there is one."""
    headers: dict[str, str] = {}
    for inject in trace_carriers:
        inject(headers)
    return headers
