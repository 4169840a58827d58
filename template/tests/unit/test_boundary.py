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


async def test_bug_in_the_handlers_is_answered_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """If the handlers fail, the answer is a plain 500 with the id, and one CRITICAL names both errors."""
    guard = ErrorBoundary(crashing, broken_response, "X-Request-ID", lambda app: app)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(guard), base_url="http://test"
    ) as client:
        response = await client.get("/", headers={"X-Request-ID": "mine"})
    assert (response.status_code, response.headers["x-request-id"]) == (500, "mine")
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert (record.levelname, record.message) == ("CRITICAL", "the error handler failed")
    assert record.exc_info
    assert isinstance(record.exc_info[1], RuntimeError)
    assert isinstance(record.exc_info[1].__context__, KeyError)


async def test_what_keeps_the_service_from_starting_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error while it starts is one CRITICAL, and still ends the start."""
    with pytest.raises(KeyError):
        async with report_lifespan_errors():
            raise KeyError("no such model")
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("CRITICAL", "the service cannot run")
    ]
