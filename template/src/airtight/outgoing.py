"""What calls to stores and other services carry of the request that they belong to."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from . import hooks
from .context import get_correlation_id


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
            for enter in hooks.call_started:
                stack.enter_context(enter(request))
            yield

    return observe


# copier: if "postgres" in stores
async def observe_connection(connection: Any) -> None:
    """Have the hooks see a new connection to PostgreSQL."""
    for hook in hooks.connection_opened:
        await hook(connection)


# copier: endif
# copier: if "redis" in stores
@contextmanager
def observe_command(command: str) -> Iterator[None]:
    """Have the hooks see a command to Redis.

    Args:
        command: its name.
    """
    with ExitStack() as stack:
        for enter in hooks.command_started:
            stack.enter_context(enter(command))
        yield


# copier: endif
def trace_headers() -> dict[str, str]:
    """Return the headers by which another process continues the current trace, if there is one."""
    headers: dict[str, str] = {}
    for inject in hooks.trace_injectors:
        inject(headers)
    return headers
