"""The error boundary holds also when what it relies on does not."""

import logging

import httpx2
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from src.airtight.boundary import ErrorBoundary
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
