"""What calls to stores and other services carry of the request that they belong to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

from . import hooks
from .context import get_correlation_id

Observer = Callable[[Any], AbstractContextManager[None]]


def observe_calls(id_header: str) -> Observer:
    """Return what a client enters around each call, with its request.

    Args:
        id_header: the header in which the correlation id is passed on.
    """

    def observe(request: Any) -> AbstractContextManager[None]:
        correlation_id = get_correlation_id()
        if correlation_id:
            request.headers[id_header] = correlation_id
        return _observe(hooks.call_started, request)

    return observe


def _observe(observers: Sequence[Observer], observed: Any) -> AbstractContextManager[None]:
    """Return what is entered around something that observers see; nothing without observers."""
    if not observers:
        return nullcontext()
    return _enter_all(observers, observed)


@contextmanager
def _enter_all(observers: Sequence[Observer], observed: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for observe in observers:
            stack.enter_context(observe(observed))
        yield


async def observe_connection(connection: Any) -> None:
    """Have the hooks see a new connection to a database."""
    for hook in hooks.connection_opened:
        await hook(connection)


def observe_command(command: str) -> AbstractContextManager[None]:
    """Return what is entered around a command to a store, so that the hooks see it.

    Args:
        command: its name.
    """
    return _observe(hooks.command_started, command)


def trace_headers() -> dict[str, str]:
    """Return the headers by which another process continues the current trace, if there is one."""
    headers: dict[str, str] = {}
    for inject in hooks.trace_injectors:
        inject(headers)
    return headers
