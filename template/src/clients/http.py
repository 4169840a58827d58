"""Calls to other services."""

import httpx2

from src.utils.logging_config import current


def http_client(base_url: str, id_header: str, timeout: float = 5.0) -> httpx2.AsyncClient:
    """Return a client that passes the correlation id on; `timeout`, in seconds, bounds each of its waits."""

    async def pass_id_on(request: httpx2.Request) -> None:
        if (trail := current.get()) and trail.correlation_id:
            request.headers[id_header] = trail.correlation_id

    return httpx2.AsyncClient(base_url=base_url, timeout=timeout, event_hooks={"request": [pass_id_on]})
