"""Calls to other services."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
# copier: if "opentelemetry" in observability
from typing import Any

# copier: endif
import httpx2

# copier: if "opentelemetry" in observability
from src.airtight.tracing import client_span
# copier: endif
from src.airtight.context import current_context


# copier: if false
# isort: on
# fmt: on
# copier: endif
# copier: if "opentelemetry" in observability
class TracedClient(httpx2.AsyncClient):
    """Sends each request in a span of its own, and passes the trace on."""

    async def send(self, request: httpx2.Request, *args: Any, **options: Any) -> httpx2.Response:
        """Send a request."""
        facts = {"http.request.method": request.method, "server.address": request.url.host}
        with client_span("HTTP", request.method, request.headers, **facts):
            return await super().send(request, *args, **options)


# copier: endif
def http_client(base_url: str, id_header: str, timeout: float = 5.0) -> httpx2.AsyncClient:
    """Return a client that passes the correlation id on; `timeout`, in seconds, bounds each of its waits."""

    async def pass_id_on(request: httpx2.Request) -> None:
        if (context := current_context.get()) and context.correlation_id:
            request.headers[id_header] = context.correlation_id

    # copier: if "opentelemetry" not in observability
    client = httpx2.AsyncClient(base_url=base_url, timeout=timeout)
    # copier: endif
    # copier: if "opentelemetry" in observability
    client = TracedClient(base_url=base_url, timeout=timeout)
    # copier: endif
    client.event_hooks = {"request": [pass_id_on]}
    return client
