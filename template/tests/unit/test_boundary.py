"""The error boundary holds also when what it relies on does not."""

import logging

import httpx2
import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from src.airtight.boundary import ErrorBoundary
from src.airtight.context import get_subject, set_subject
from src.airtight.lifespan import report_lifespan_errors


async def crashing(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError("ours")


async def broken_response(scope: Scope, exc: BaseException) -> Response:
    raise RuntimeError("bug in the handler")


async def test_bug_in_the_handlers_is_a_500_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the handlers fail, the response is a plain 500, and one CRITICAL has both errors."""
    boundary = ErrorBoundary(crashing, broken_response, "X-Request-ID", lambda app: app)
    client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(boundary),
        base_url="http://test",
    )
    async with client:
        response = await client.get("/", headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "mine"
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelname == "CRITICAL"
    assert record.message == "the error handler failed"
    assert record.exc_info
    bug = record.exc_info[1]
    assert isinstance(bug, RuntimeError)
    assert isinstance(bug.__context__, KeyError)


async def test_refusal_of_a_body_that_has_ended_is_sent_at_once() -> None:
    """After the end of the body there is nothing more to receive before the response."""
    body = iter([{"type": "http.request", "body": b"x" * 11, "more_body": False}])
    sent = []

    async def receive() -> Message:
        return next(body)  # a server would wait until the client leaves

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await Response(status_code=413)(scope, receive, send)

    async def send(message: Message) -> None:
        sent.append(message.get("status"))

    boundary = ErrorBoundary(refuse, broken_response, "X-Request-ID", lambda app: app)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await boundary(scope, receive, send)
    assert sent == [413, None]


async def test_call_within_a_request_has_its_subject() -> None:
    """A call in-process names the caller of the request, and may name another, for itself alone."""
    named: list[str | None] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        named.append(get_subject())
        set_subject("bob")
        named.append(get_subject())
        await Response()(scope, receive, send)

    inner_boundary = ErrorBoundary(inner, broken_response, "X-Request-ID", lambda app: app)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        set_subject("ann")
        transport = httpx2.ASGITransport(inner_boundary)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.get("/")
        named.append(get_subject())
        await Response()(scope, receive, send)

    boundary = ErrorBoundary(outer, broken_response, "X-Request-ID", lambda app: app)
    transport = httpx2.ASGITransport(boundary)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.get("/")
    assert named == ["ann", "bob", "ann"]
    set_subject("nobody")  # outside of a request there is nothing to name
    assert get_subject() is None


async def test_error_that_ends_the_start_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error while the service starts is one CRITICAL, and still ends the start."""
    with pytest.raises(KeyError):
        async with report_lifespan_errors():
            raise KeyError("no such model")
    (record,) = caplog.records
    assert record.levelname == "CRITICAL"
    assert record.message == "the service cannot run"


async def test_failure_while_the_service_stops_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function that fails at the end is one CRITICAL, and those after it are called."""
    called = []

    async def fail() -> None:
        raise KeyError("cannot flush")

    async def flush() -> None:
        called.append("flush")

    monkeypatch.setattr("src.airtight.lifespan.service_stopped", [fail, flush])
    async with report_lifespan_errors():
        pass
    assert called == ["flush"]
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("CRITICAL", "unexpected error")
