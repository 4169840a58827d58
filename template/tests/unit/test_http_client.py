"""A call to another service ends in time, and whatever goes wrong is one of our own errors."""

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx2
import pytest
from pydantic import BaseModel

from dev.ports import free_port
from src.airtight.context import RequestContext, current_context
from src.airtight.outgoing import observe_calls
from src.clients.http import UpstreamClient, parse_response
from src.utils.errors import (
    UpstreamError,
    UpstreamResponseError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Thing(BaseModel):
    name: str


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Run a service that treats each connection like this, and yield its URL."""
    tasks = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        ended = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*ended):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                await handler(request, writer)
                await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        for task in filter(None, tasks):
            task.cancel()
        await asyncio.sleep(0)


def sends(data: bytes) -> Handler:
    """Return a handler that sends this."""

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return handler


def sends_body(body: bytes, headers: bytes = b"", status: int = 200) -> Handler:
    """Return a handler that sends a whole response."""
    head = b"HTTP/1.1 %d -\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body))
    return sends(head + body)


async def send_nothing(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Keep the connection open."""


async def drip(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Send a header, and then a byte of the body now and then, for ever."""
    writer.write(b"HTTP/1.1 200 -\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_headers(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Send a byte of a header now and then, for ever."""
    writer.write(b"HTTP/1.1 200 -\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def send_endless_body(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Send a body that never ends, as fast as it is read."""
    writer.write(b"HTTP/1.1 200 -\r\n\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def send_endless_header(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Send a header that never ends, as fast as it is read."""
    writer.write(b"HTTP/1.1 200 -\r\nX: ")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def disconnect(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Close the connection without a response."""
    writer.close()


async def reset(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Reset the connection after a part of the response."""
    writer.write(b"HTTP/1.1 200 -\r\nContent-Length: 10\r\n\r\nhalf")
    await writer.drain()
    writer.transport.abort()


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (send_nothing, UpstreamTimeoutError),
        (drip, UpstreamTimeoutError),
        (drip_headers, UpstreamTimeoutError),
        (send_endless_body, UpstreamResponseError),
        (send_endless_header, UpstreamResponseError),
        (disconnect, UpstreamResponseError),
        (reset, UpstreamError),
        (sends(b"this is no HTTP\r\n\r\n"), UpstreamResponseError),
        (sends_body(b"x" * 1001), UpstreamResponseError),
        (
            sends_body(gzip.compress(b"x" * 100_000), b"Content-Encoding: gzip\r\n"),
            UpstreamResponseError,
        ),
    ],
    ids=[
        *("silent", "dripping", "dripping headers", "endless", "endless header"),
        *("disconnecting", "resetting", "no HTTP", "too large", "compressed"),
    ],
)
async def test_service_that_fails_is_an_error_of_our_own(
    handler: Handler, error: type[UpstreamError]
) -> None:
    """Whatever a service sends, or does not, the call ends soon with an own error and a cause."""
    timeout = 0.3 if error is UpstreamTimeoutError else 30
    async with (
        serving(handler) as url,
        UpstreamClient(url, timeout=timeout, max_response_size=1000) as client,
        asyncio.timeout(60),
    ):
        with pytest.raises(error) as caught:
            await client.get("/")
    assert caught.value.host == "127.0.0.1"
    assert caught.value.reason


def disconnects_at_first(end: Handler) -> Handler:
    """Return a handler that loses the first connection in a way, and then responds."""
    requests = itertools.count()

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        if next(requests) == 0:
            await end(request, writer)
        else:
            await sends_body(b"{}")(request, writer)

    return handler


async def lose(request: bytes, writer: asyncio.StreamWriter) -> None:
    """Reset the connection without a response."""
    writer.transport.abort()


@pytest.mark.parametrize("end", [disconnect, lose])
@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("POST", {"Idempotency-Key": "1"})])
async def test_request_that_is_safe_is_repeated(
    end: Handler, method: str, headers: dict[str, str]
) -> None:
    """Where a connection is lost, a request that changes nothing, or has a key, is sent again."""
    async with serving(disconnects_at_first(end)) as url, UpstreamClient(url) as client:
        response = await client.request(method, "/", json={}, headers=headers)
    assert response.status_code == 200


async def test_request_that_is_not_safe_is_sent_once() -> None:
    """Nobody knows whether a request without a key has had its effect."""
    async with serving(disconnects_at_first(lose)) as url, UpstreamClient(url) as client:
        with pytest.raises(UpstreamError):
            await client.post("/", json={})


async def test_service_that_does_not_listen_is_unreachable() -> None:
    """A refused connection is a 503 that can be tried again."""
    async with UpstreamClient(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(UpstreamUnreachableError) as caught:
            await client.get("/")
    assert (caught.value.status_code, caught.value.reason) == (503, "ConnectError")
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)


async def test_pool_that_is_exhausted_is_unreachable() -> None:
    """A call that gets no connection ends in time."""
    async with (
        serving(send_nothing) as url,
        UpstreamClient(url, timeout=0.3, max_connections=1) as client,
    ):
        calls = [client.get("/") for _ in range(2)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, UpstreamError) for result in results)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UpstreamResponseError("a", "b"), 502),
        (UpstreamUnreachableError("a", "b"), 503),
        (UpstreamTimeoutError("a", "b"), 504),
    ],
)
def test_kinds_of_failures_have_the_statuses_of_a_gateway(
    error: UpstreamError, status: int
) -> None:
    """A bad response is a 502, no connection a 503, a slow service a 504."""
    assert (error.status_code, error.fields) == (status, {"host": "a", "reason": "b"})


async def test_cancellation_is_no_failure_of_the_service() -> None:
    """A call that the caller cancels, or whose own deadline ends, is not translated."""
    async with serving(send_nothing) as url, UpstreamClient(url) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.get("/")
        task = asyncio.create_task(client.get("/"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_bug_of_ours_is_not_blamed_on_the_service() -> None:
    """A request that cannot be sent at all stays what it is."""
    async with UpstreamClient("http://127.0.0.1") as client:
        with pytest.raises(httpx2.UnsupportedProtocol):
            await client.get("nonsense://127.0.0.1/")


async def test_response_that_fits_is_returned_and_parsed() -> None:
    """A good response arrives whole, over a connection that is used again."""
    async with (
        serving(sends_body(b'{"name": "%s"}' % (b"x" * 900))) as url,
        UpstreamClient(url, max_response_size=1000) as client,
    ):
        for _ in range(2):
            response = await client.get("/")
            assert parse_response(response, Thing) == Thing(name="x" * 900)


async def test_stream_is_bounded_as_well() -> None:
    """A response that is read as a stream ends at the same size."""
    async with (
        serving(send_endless_body) as url,
        UpstreamClient(url, max_response_size=1000) as client,
        client.stream("GET", "/") as response,
    ):
        with pytest.raises(UpstreamResponseError):
            async for _ in response.aiter_bytes():
                pass


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (404, b'{"name": "x"}'),
        (302, b'{"name": "x"}'),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"name": null}'),
        (200, b'{"name": ["x"]}'),
        (200, b"[" * 200_000),
        (200, b'{"name": "' + b"\xff" + b'"}'),
        (200, b'{"name": "\\ud800"}'),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_response_that_does_not_fit_the_model_is_an_error_of_our_own(
    status: int, body: bytes
) -> None:
    """What another service sends is validated, however deep, empty or broken it is."""
    response = httpx2.Response(status, content=body, request=httpx2.Request("GET", "http://a/"))
    with pytest.raises(UpstreamResponseError) as caught:
        parse_response(response, Thing)
    assert (caught.value.status_code, caught.value.host) == (502, "a")
    assert f"status {status}" in caught.value.reason


@pytest.fixture
def request_context() -> Iterator[None]:
    """Be in a request whose correlation id is `abc`."""
    token = current_context.set(RequestContext("abc"))
    yield
    current_context.reset(token)


@pytest.mark.usefixtures("request_context")
async def test_observer_adds_the_correlation_id() -> None:
    """Within a request each call carries its id, in the header that is set."""
    received = []

    async def handler(request: bytes, writer: asyncio.StreamWriter) -> None:
        received.append(request)
        writer.write(b"HTTP/1.1 204 -\r\n\r\n")

    async with (
        serving(handler) as url,
        UpstreamClient(url, observe=observe_calls("X-Correlation-ID")) as client,
    ):
        await client.get("/")
    assert b"x-correlation-id: abc\r\n" in received[0].lower()
    assert b"accept-encoding: identity\r\n" in received[0].lower()
