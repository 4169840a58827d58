"""Calls to other services: bounded in time and in size, and their failures translated once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import httpx2
import stamina
from pydantic import BaseModel, ValidationError

from src.utils.errors import (
    UpstreamResponseError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

UNREACHABLE = (
    httpx2.ConnectTimeout,
    httpx2.NetworkError,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
)
BAD_RESPONSE = (
    httpx2.DecodingError,
    httpx2.RemoteProtocolError,
    httpx2.TooManyRedirects,
)
MAX_RESPONSE_SIZE = 1_000_000  # bytes
# What httpx2 says of a connection that was closed before any of the response.
DISCONNECTED = "Server disconnected without sending a response"
MAX_CONNECTIONS = 50
ATTEMPTS = 3  # of a request that may be repeated
# RFC 9110, section 9.2.1: these change nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# A request that is sent again is no failure, and one that fails at last has one record.
stamina.instrumentation.set_on_retry_hooks(())
Model = TypeVar("Model", bound=BaseModel)
Observer = Callable[[httpx2.Request], AbstractContextManager[None]]


def unobserved(_: httpx2.Request) -> AbstractContextManager[None]:
    """Observe nothing."""
    return nullcontext()


class UpstreamClient(httpx2.AsyncClient):
    """Calls one other service; whatever goes wrong with a call is an `UpstreamError`.

    A request that finds no connection, or loses it, is sent again after a short and random pause,
    if that is safe: it changes nothing, or has an `Idempotency-Key`.

    Args:
        base_url: of the service.
        timeout: bounds a whole call, to the last byte of its last response, in seconds.
        max_connections: that are open at a time.
        max_response_size: bounds the body of a response, in bytes.
        observe: is entered around each call, and may add headers to its request.
        options: what else `httpx2.AsyncClient` takes.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = 5.0,
        max_connections: int = MAX_CONNECTIONS,
        max_response_size: int = MAX_RESPONSE_SIZE,
        observe: Observer = unobserved,
        **options: Any,
    ) -> None:
        limits = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections
        )
        super().__init__(base_url=base_url, timeout=timeout, limits=limits, **options)
        # A compressed response could become a thousand times as large in memory.
        self.headers["Accept-Encoding"] = "identity"
        self._deadline = timeout
        self._max_response_size = max_response_size
        self._observe = observe
        retry = stamina.AsyncRetryingCaller(
            attempts=ATTEMPTS, timeout=None, wait_initial=0.02, wait_jitter=0.03
        )
        self._retry = retry.on(_has_lost_connection)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request; all other methods end here.

        Raises:
            UpstreamUnreachableError: there is no connection to the service, or it was lost.
            UpstreamTimeoutError: the call takes longer than `timeout`.
            UpstreamResponseError: what came back is no HTTP, or too large.
        """
        try:
            async with asyncio.timeout(self._deadline):
                if _may_be_repeated(request):
                    return await self._retry(self._send_once, request, **options)
                return await self._send_once(request, **options)
        except (TimeoutError, httpx2.TimeoutException) as exc:
            reason = f"longer than {self._deadline:g} s"
            raise UpstreamTimeoutError(request.url.host, reason) from exc

    async def _send_once(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        host = request.url.host
        try:
            with self._observe(request):
                return await self._send(request, **options)
        except UNREACHABLE as exc:
            raise UpstreamUnreachableError(host, type(exc).__name__) from exc
        except BAD_RESPONSE as exc:
            raise UpstreamResponseError(host, type(exc).__name__) from exc

    async def _send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        response = await super().send(request, stream=True, **options)
        host = request.url.host
        response.stream = BoundedBody(response.stream, host, self._max_response_size)
        try:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise UpstreamResponseError(host, "an encoding that was not accepted")
            if not stream:
                await response.aread()
        except BaseException:
            await response.aclose()
            raise
        return response


def _has_lost_connection(exc: Exception) -> bool:
    """Return whether there was no connection, or an old one that the service had closed."""
    return isinstance(exc, UpstreamUnreachableError) or DISCONNECTED in str(exc.__cause__)


def _may_be_repeated(request: httpx2.Request) -> bool:
    is_safe = request.method in SAFE_METHODS or "Idempotency-Key" in request.headers
    return is_safe and isinstance(request.stream, httpx2.ByteStream)  # others are read only once


class BoundedBody(httpx2.AsyncByteStream):
    """The body of a response, up to a limit in bytes."""

    def __init__(self, stream: Any, host: str, limit: int) -> None:
        self._stream = stream
        self._host = host
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body in chunks; raises UpstreamResponseError."""
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._limit:
                raise UpstreamResponseError(self._host, f"larger than {self._limit} bytes")
            yield chunk

    async def aclose(self) -> None:
        """Close the response."""
        await self._stream.aclose()


def parse_response(response: httpx2.Response, model: type[Model]) -> Model:
    """Return what a service has sent, validated by a model.

    Raises:
        UpstreamResponseError: the status is no success, or the body does not fit the model.
    """
    reason = f"status {response.status_code}"
    if not response.is_success:
        raise UpstreamResponseError(response.url.host, reason)
    try:
        return model.model_validate_json(response.content)
    except ValidationError as exc:
        raise UpstreamResponseError(response.url.host, f"{reason}, invalid body") from exc
