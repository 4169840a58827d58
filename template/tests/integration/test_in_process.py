"""Code that calls the application without a server gets from it what FastAPI would give."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    WebSocket,
    WebSocketException,
)
from fastapi.responses import StreamingResponse
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect

from src.main import create_app
from src.utils.errors import UnavailableError
from tests.integration.test_escapes import assert_body
from tests.support.service import run

router = APIRouter()


def crash() -> None:
    raise LookupError("a bug")


def exit_by(kind: str) -> None:
    errors: dict[str, BaseException] = {
        "system-exit": SystemExit(3),
        "keyboard-interrupt": KeyboardInterrupt(),
    }
    raise errors[kind]


async def wait_forever(connection: HTTPConnection) -> None:
    """Say that the request has begun, and wait."""
    connection.state.begun.set()
    await asyncio.Event().wait()


@router.get("/wait/endpoint")
async def wait_in_endpoint(request: Request) -> None:
    await wait_forever(request)


@router.get("/wait/dependency", dependencies=[Depends(wait_forever)])
async def wait_in_dependency() -> None: ...


@router.get("/wait/background")
async def wait_in_background(request: Request, tasks: BackgroundTasks) -> None:
    tasks.add_task(wait_forever, request)


@router.get("/wait/stream")
async def wait_in_stream(request: Request) -> StreamingResponse:
    async def wait_for_second_chunk() -> AsyncIterator[str]:
        yield "first"
        await wait_forever(request)

    return StreamingResponse(wait_for_second_chunk())


@router.websocket("/wait/websocket")
async def wait_in_websocket(websocket: WebSocket) -> None:
    await websocket.accept()
    await wait_forever(websocket)


@router.websocket("/wait/handshake")
async def wait_in_handshake(websocket: WebSocket) -> None:
    await wait_forever(websocket)


@router.get("/exit/endpoint/{kind}")
async def exit_in_endpoint(kind: str) -> None:
    exit_by(kind)


@router.get("/exit/thread/{kind}")
def exit_in_thread(kind: str) -> None:
    exit_by(kind)


@router.get("/exit/dependency/{kind}", dependencies=[Depends(exit_by)])
async def exit_in_dependency(kind: str) -> None: ...


@router.get("/crash")
async def crash_in_endpoint() -> None:
    crash()


@router.get("/crash/thread")
def crash_in_thread() -> None:
    crash()


@router.get("/crash/background")
async def crash_in_background(tasks: BackgroundTasks) -> str:
    tasks.add_task(crash)
    return "accepted"


@router.get("/own")
async def raise_own() -> None:
    raise UnavailableError("a part is missing")


@router.get("/http")
async def raise_http() -> None:
    raise HTTPException(403, "not you")


@router.get("/invalid")
async def raise_invalid(number: int) -> None: ...


@router.websocket("/socket/crash")
async def socket_crash(websocket: WebSocket) -> None:
    crash()


@router.websocket("/socket/crash-after-accept")
async def socket_crash_after_accept(websocket: WebSocket) -> None:
    await websocket.accept()
    crash()


@router.websocket("/socket/closed")
async def socket_closed(websocket: WebSocket) -> None:
    await websocket.close(4001, "not today")


@router.websocket("/socket/refused")
async def socket_refused(websocket: WebSocket) -> None:
    raise WebSocketException(4002, "not you")


@router.websocket("/socket/unauthorised")
async def socket_unauthorised(websocket: WebSocket) -> None:
    raise HTTPException(401, "who are you?")


@router.websocket("/socket/invalid")
async def socket_invalid(websocket: WebSocket, number: int) -> None: ...


@pytest.fixture
def app() -> FastAPI:
    """The application with more routes."""
    app = create_app()
    app.include_router(router)
    return app


class Call:
    """A request or a WebSocket's handshake that the application gets without a server.

    Attributes:
        begun: set as soon as the endpoint waits.
        sent: the messages that the application has sent.
    """

    def __init__(self, path: str, kind: str = "http") -> None:
        self.begun = asyncio.Event()
        self.sent: list[Message] = []
        self._received = [{"type": "websocket.connect" if kind == "websocket" else "http.request"}]
        self._scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [],
            "state": {"begun": self.begun},
        }

    async def run(self, app: FastAPI) -> None:
        """Call the application, and collect what it sends."""
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._received:
            await asyncio.Event().wait()
        return self._received.pop()

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


# Cancellation and exits.

WAITING = [
    ("/wait/endpoint", "http"),
    ("/wait/dependency", "http"),
    ("/wait/background", "http"),
    ("/wait/stream", "http"),
    ("/wait/websocket", "websocket"),
    ("/wait/handshake", "websocket"),
]


@pytest.mark.parametrize(("path", "kind"), WAITING)
async def test_cancelled_call_is_cancelled(app: FastAPI, path: str, kind: str) -> None:
    """A task that calls the application ends as cancelled when it is cancelled."""
    call = Call(path, kind)
    task = asyncio.create_task(call.run(app))
    await call.begun.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize(("path", "kind"), WAITING)
async def test_timeout_around_a_call_is_noticed(app: FastAPI, path: str, kind: str) -> None:
    """`asyncio.timeout` around a call of the application raises when the time is over."""
    call = Call(path, kind)

    async def end_time() -> None:
        await call.begun.wait()
        limit.reschedule(0)

    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(pytest.raises(TimeoutError))
        limit = await stack.enter_async_context(asyncio.timeout(None))
        ending = asyncio.create_task(end_time())
        await call.run(app)
    await ending


@pytest.mark.parametrize(("path", "kind"), WAITING)
async def test_group_around_a_call_is_ended(app: FastAPI, path: str, kind: str) -> None:
    """In a `TaskGroup` in which something fails, nothing runs after a call of the application."""
    call = Call(path, kind)
    reached = False

    async def fail() -> None:
        await call.begun.wait()
        crash()

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await call.run(app)
            reached = True
    assert not reached


@pytest.mark.parametrize(
    ("kind", "error"), [("system-exit", SystemExit), ("keyboard-interrupt", KeyboardInterrupt)]
)
@pytest.mark.parametrize("place", ["endpoint", "thread", "dependency"])
async def test_exit_is_raised_after_the_response(
    app: FastAPI, place: str, kind: str, error: type[BaseException]
) -> None:
    """What is to end the process is raised to the caller, after the client has got a 500."""
    call = Call(f"/exit/{place}/{kind}")
    with pytest.raises(error):
        await call.run(app)
    assert call.sent[0]["status"] == 500
    assert not call.sent[-1].get("more_body")


# Servers without the extension for refused handshakes.


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/socket/closed", 4001),
        ("/socket/refused", 4002),
        ("/socket/crash", None),
        ("/socket/unauthorised", None),
        ("/socket/invalid", None),
        ("/socket/nowhere", None),
    ],
)
async def test_handshake_is_refused_in_the_way_that_the_server_knows(
    app: FastAPI, path: str, code: int | None
) -> None:
    """Without the extension for responses to handshakes, a WebSocket is closed, with its code."""
    call = Call(path, "websocket")
    with contextlib.suppress(LookupError):
        await call.run(app)
    (message,) = call.sent
    assert message["type"] == "websocket.close"
    assert code in (None, message["code"])


# Starlette's test client.


@pytest.mark.parametrize("path", ["/crash", "/crash/thread", "/crash/background"])
def test_client_raises_what_was_not_handled(app: FastAPI, path: str) -> None:
    """A test sees the error that the application did not handle."""
    client = TestClient(app)
    with pytest.raises(LookupError, match="a bug"):
        client.get(path)


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [("/own", 503, None), ("/http", 403, "not you"), ("/nowhere", 404, "Not Found")],
)
def test_client_gets_what_was_handled(
    app: FastAPI, path: str, status: int, detail: str | None
) -> None:
    """A test sees the response to an error that the application did handle."""
    assert_body(TestClient(app).get(path), status, detail)


def test_client_gets_the_response_to_an_invalid_request(app: FastAPI) -> None:
    """A test sees the response to an invalid request."""
    assert TestClient(app).get("/invalid", params={"number": "x"}).status_code == 422


@pytest.mark.parametrize("path", ["/crash", "/crash/thread"])
def test_client_that_does_not_raise_gets_the_response(app: FastAPI, path: str) -> None:
    """A test that asks for it sees the response to an error that was not handled."""
    client = TestClient(app, raise_server_exceptions=False)
    assert_body(client.get(path), 500, None)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/socket/closed", 4001),
        ("/socket/refused", 4002),
        ("/socket/invalid", 1008),
        ("/socket/nowhere", 1000),
    ],
)
def test_client_gets_the_code_of_a_refused_websocket(app: FastAPI, path: str, code: int) -> None:
    """A test sees with which code a WebSocket was refused."""
    with pytest.raises(WebSocketDisconnect) as caught, TestClient(app).websocket_connect(path):
        pass
    assert caught.value.code == code


def test_client_gets_the_response_to_a_refused_websocket(app: FastAPI) -> None:
    """A test sees the response to an error with a status on a WebSocket."""
    client = TestClient(app)
    with (
        pytest.raises(WebSocketDenialResponse) as caught,
        client.websocket_connect("/socket/unauthorised"),
    ):
        pass
    assert_body(caught.value, 401, "who are you?")


@pytest.mark.parametrize("path", ["/socket/crash", "/socket/crash-after-accept"])
def test_client_raises_what_fails_on_a_websocket(app: FastAPI, path: str) -> None:
    """A test sees the error that a WebSocket's endpoint has raised."""
    with (
        pytest.raises(LookupError, match="a bug"),
        TestClient(app).websocket_connect(path) as websocket,
    ):
        websocket.receive_text()


# What looks into the application from outside.


def test_instrumentation_finds_the_layer_it_looks_for() -> None:
    """Instrumentation that looks for this layer skips an application that hides it."""
    assert isinstance(create_app().build_middleware_stack(), ServerErrorMiddleware)


def run_python(code: str) -> list[str]:
    """Run code in a process of its own, and return the lines that it prints."""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith(("{", "20", " "))]


# copier: if "sentry" in observability
SENTRY_ALONE = """
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from starlette.testclient import TestClient

events = []
sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    before_send=lambda event, hint: events.append(event),
    integrations=[LoggingIntegration(event_level=None)],
)
from src.main import create_app

app = create_app()

@app.get("/crash")
async def crash():
    raise LookupError("a bug")

@app.get("/crash/thread")
def crash_in_thread():
    raise LookupError("a bug")

client = TestClient(app, raise_server_exceptions=False)
for path in ("/crash", "/crash/thread"):
    client.get(path)
for event in events:
    print("event", [value["type"] for value in event["exception"]["values"]])
"""


def test_sentry_alone_gets_errors_that_were_not_handled() -> None:
    """Sentry's own integrations see an error that was not handled, without a setting of ours."""
    lines = [line for line in run_python(SENTRY_ALONE) if line.startswith("event")]
    assert lines == ["event ['LookupError']"] * 2


# copier: endif
IN_OTHERS_HOOKS = """
import asyncio, sys, threading

called = []
def on_error(*arguments): called.append("process")
def on_thread_error(arguments): called.append("thread")
def on_loop_error(loop, context): called.append("loop")
sys.excepthook, threading.excepthook = on_error, on_thread_error

from src.main import app

def fail_everywhere(loop):
    error = LookupError("a bug")
    sys.excepthook(LookupError, error, None)
    thread = threading.Thread(target=lambda: {}["missing"])
    thread.start()
    thread.join()
    loop.call_exception_handler({"message": "failed", "exception": error})

async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_error)
    async with app.router.lifespan_context(app):
        fail_everywhere(loop)
    print("called", *called)
    print("loop", loop.get_exception_handler() is on_loop_error)

asyncio.run(main())
print("process", sys.excepthook is on_error)
print("thread", threading.excepthook is on_thread_error)
"""


@pytest.fixture(scope="module")
def seen_by_hooks_of_others() -> list[str]:
    """Let everything fail where others have hooks, and return what these have seen."""
    return run_python(IN_OTHERS_HOOKS)


@pytest.mark.parametrize(
    "expected", ["called process thread loop", "process True", "thread True", "loop True"]
)
def test_hooks_of_others_are_called_and_restored(
    seen_by_hooks_of_others: list[str], expected: str
) -> None:
    """Hooks that were there before are called, too, and are alone again at the end."""
    assert expected in seen_by_hooks_of_others


def test_import_alone_calls_hooks_of_others() -> None:
    """Importing the application takes nobody's hooks away."""
    code = "import sys; sys.excepthook = lambda *_: print('called'); import src.main; {}['missing']"
    done = run("-c", code)
    assert "called" in done.stdout
