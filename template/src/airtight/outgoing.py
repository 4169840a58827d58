"""What a call to another service carries of the request that it is made for."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

# copier: if "opentelemetry" in observability
from . import tracing
# copier: endif
from .context import get_correlation_id

Observer = Callable[[Any], AbstractContextManager[None]]


def observe_calls(id_header: str) -> Observer:
    """Return what a client enters around each call, with its request.

    Args:
        id_header: the header in which the correlation id is passed on.
    """

    @contextmanager
    def observe(request: Any) -> Iterator[None]:
        correlation_id = get_correlation_id()
        if correlation_id:
            request.headers[id_header] = correlation_id
        # copier: if "opentelemetry" in observability
        attributes = {
            "http.request.method": request.method,
            "server.address": request.url.host,
        }
        with tracing.client_span("HTTP", request.method, request.headers, **attributes):
            yield

        # copier: endif
        # copier: if false
        return
        # copier: endif
        # copier: if "opentelemetry" not in observability
        yield

        # copier: endif

    return observe
