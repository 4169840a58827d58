"""A call to another service that fails is one response of a gateway, and one record."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from dev.ports import free_port
from src.airtight.application import AirtightAPI
from src.clients.http import UpstreamClient, parse_response
from tests.unit.test_http_client import (
    Handler,
    Thing,
    disconnect,
    reset,
    send_nothing,
    sends,
    sends_body,
    serving,
)


@asynccontextmanager
async def relay(url: str, seconds: float = 0.3) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of a service that calls another one.

    Args:
        url: of the other one.
        seconds: within which it has to respond.
    """
    app = AirtightAPI()
    async with UpstreamClient(url, timeout=seconds) as upstream:

        @app.get("/")
        async def get_thing() -> Thing:
            return parse_response(await upstream.get("/"), Thing)

        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


def assert_one_error(records: list[logging.LogRecord], error: str) -> None:
    """One ERROR of our own class is all that was logged from WARNING on."""
    (failure,) = [record for record in records if record.levelno >= logging.WARNING]
    assert failure.levelname == "ERROR"
    assert failure.exc_info
    assert type(failure.exc_info[1]).__name__ == error


@pytest.mark.parametrize(
    ("handler", "status", "error"),
    [
        (sends(b"this is no HTTP\r\n\r\n"), 502, "UpstreamResponseError"),
        (disconnect, 502, "UpstreamResponseError"),
        (sends(b"HTTP/1.1 500 -\r\nContent-Length: 2\r\n\r\n{}"), 502, "UpstreamResponseError"),
        (
            sends(b"HTTP/1.1 302 -\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
            502,
            "UpstreamResponseError",
        ),
        (sends_body(b'{"nam'), 502, "UpstreamResponseError"),
        (sends_body(b'{"title": "x"}'), 502, "UpstreamResponseError"),
        (send_nothing, 504, "UpstreamTimeoutError"),
    ],
    ids=["no HTTP", "disconnecting", "500", "redirect", "half", "another body", "silent"],
)
async def test_service_that_fails_is_one_record(
    handler: Handler, status: int, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad response is a 502 and a slow one a 504, with one ERROR each."""
    async with serving(handler) as url, relay(url) as client:
        response = await client.get("/")
    assert response.status_code == status
    assert "127.0.0.1" not in response.text
    assert_one_error(caplog.records, error)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_service_that_cannot_be_reached_is_one_record(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No connection is a 503 that says when to come back, with one ERROR."""
    async with relay(f"http://{host}:{free_port()}", seconds=30) as client:
        response = await client.get("/")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert host not in response.text
    assert_one_error(caplog.records, "UpstreamUnreachableError")


async def test_connection_that_is_reset_is_one_record(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that breaks in the middle is a failure of the other service, too."""
    async with serving(reset) as url, relay(url) as client:
        response = await client.get("/")
    assert response.status_code in (502, 503)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
