"""The limit of bodies holds in task groups, and however a body is announced."""

import anyio
import httpx2
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.airtight import AirtightAPI
from src.airtight.body_limit import ANNOUNCED

LIMIT = 10


class RunsInTasks:
    """A middleware with a task group, so that what fails in it is a group.

    Args:
        app: what is inside; it reads no body.
        reads: whether a task reads the body, before the application runs.
        fails: whether another task fails.
    """

    def __init__(self, app: ASGIApp, *, reads: bool, fails: bool) -> None:
        self.app = app
        self.reads = reads
        self.fails = fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def read() -> None:
            await receive()

        async def run_app() -> None:
            await self.app(scope, receive, send)

        async def fail() -> None:
            raise LookupError("beside the body")

        async with anyio.create_task_group() as tasks:
            if self.fails:
                tasks.start_soon(fail)
            tasks.start_soon(read if self.reads else run_app)


def build_app(*, reads: bool = False, fails: bool = False) -> AirtightAPI:
    app = AirtightAPI(max_body_size=LIMIT)
    app.add_middleware(RunsInTasks, reads=reads, fails=fails)
    return app


@pytest.mark.parametrize(
    ("reads", "fails", "status", "level"),
    [
        (True, False, 413, "WARNING"),
        (False, False, 413, "WARNING"),  # refused when the response begins
        (True, True, 500, "CRITICAL"),
    ],
)
async def test_limit_is_found_in_a_group(
    caplog: pytest.LogCaptureFixture, reads: bool, fails: bool, status: int, level: str
) -> None:
    """A group of nothing but the limit's exceptions is a 413; with another one in it, it is a bug."""
    transport = httpx2.ASGITransport(build_app(reads=reads, fails=fails))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/", content=b"x" * (LIMIT + 1))
    assert response.status_code == status
    assert [record.levelname for record in caplog.records if record.name == "errors"] == [level]


async def receive_body() -> Message:
    return {"type": "http.request", "body": b"x" * (LIMIT + 1), "more_body": False}


@pytest.mark.parametrize(
    ("is_announced", "headers"),
    [
        (True, [(b"transfer-encoding", b"chunked")]),
        (True, [(b"content-length", b"11")]),
        (False, []),
    ],
)
async def test_body_is_limited_however_it_is_announced(
    is_announced: bool, headers: list[tuple[bytes, bytes]]
) -> None:
    """Our server announces each body by a header; others, and HTTP/2, need not."""
    statuses: list[int | None] = []

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": headers,
    }
    if is_announced:
        scope[ANNOUNCED] = True
    await build_app(reads=True)(scope, receive_body, send)
    assert statuses[0] == 413


def test_limit_stays_an_attribute_of_the_app() -> None:
    """The layers are built without FastAPI's own limit; the application still has it."""
    app = build_app()
    app.build_middleware_stack()
    assert app.max_body_size == LIMIT
