"""The service with routes that fail in every way a request can.

The sections below follow those of `tests/integration/test_escapes.py`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import BackgroundTasks, Body, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, field_validator
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from src.airtight.outgoing import observe_calls
from src.clients.http import UpstreamClient
from src.main import create_app
from src.utils.errors import APIError, UnavailableError

library = logging.getLogger("some.library")


class TeapotError(APIError):
    """This is a teapot."""

    status_code = 418
    detail = "Short and stout."


class BuggyError(APIError):
    """The handler of this error has a bug."""


class UnprintableError(Exception):
    """An error whose text cannot be built."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class Unserialisable:
    """An object that JSON has no form for."""

    __slots__ = ("itself",)

    def __init__(self) -> None:
        self.itself = self


class Faulty:
    """ASGI middleware that fails for some paths."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope.get("path"):
            case "/middleware/crash":
                raise KeyError("middleware")
            case "/middleware/own":
                raise UnavailableError("the middleware is busy")
            case "/middleware/http":
                raise HTTPException(403, "forbidden")
        await self.app(scope, receive, send)


def lookup(key: str) -> None:
    """Raise a `KeyError`."""
    dict[str, None]()[key]


async def buggy_handler(request: Request, exc: Exception) -> JSONResponse:
    lookup("bug")
    return JSONResponse(None)


def without_own_layers(app: FastAPI) -> FastAPI:
    """Remove the middleware that a team has added, such as one that compresses responses."""
    app.user_middleware = [
        layer
        for layer in app.user_middleware
        if getattr(layer.cls, "__module__", "").startswith("src.airtight.")
    ]
    return app


app = without_own_layers(create_app())
app.add_middleware(Faulty)
app.add_exception_handler(BuggyError, buggy_handler)


# Crashes: 500 and one CRITICAL.


@app.get("/crash/async")
async def crash_async() -> None:
    nothing = 0
    1 / nothing


@app.get("/crash/sync")
def crash_sync() -> None:
    lookup("sync")


async def crash() -> None:
    lookup("dependency")


@app.get("/crash/dependency", dependencies=[Depends(crash)])
async def crash_dependency() -> None: ...


async def crash_before_yield() -> AsyncIterator[None]:
    lookup("early")
    yield


@app.get("/crash/yield-early", dependencies=[Depends(crash_before_yield)])
async def crash_yield_early() -> None: ...


class Total(BaseModel):
    """The response that a route declares."""

    number: int


@app.get("/crash/response-model")
async def crash_response_model() -> Total:
    return {"number": "hunter2"}  # type: ignore[return-value]


@app.get("/crash/nan")
async def crash_nan() -> JSONResponse:
    return JSONResponse({"number": float("nan")})


@app.get("/crash/unserialisable", response_model=None)
async def crash_unserialisable() -> Any:
    return Unserialisable()


@app.get("/crash/secret")
async def crash_secret() -> None:
    raise ConnectionError("amqp://me:hunter2@queue/x refuses")


@app.get("/crash/at/{text:path}")
async def crash_at(text: str) -> None:
    raise LookupError(text)


@app.get("/crash/control-characters")
async def crash_control_characters() -> None:
    raise LookupError("half a character: \udcff, lines: 1\r2\r\n3\x854\u20285")


@app.get("/crash/unprintable")
async def crash_unprintable() -> None:
    raise UnprintableError


@app.get("/crash/recursion")
async def crash_recursion() -> None:
    await crash_recursion()


@app.get("/crash/cancelled")
async def crash_cancelled() -> None:
    raise asyncio.CancelledError


@app.get("/crash/exit")
async def crash_exit() -> None:
    raise SystemExit(1)


@app.get("/crash/group-of-one")
async def crash_group_of_one() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(crash())


@app.get("/crash/group")
async def crash_group() -> None:
    raise ExceptionGroup("two at once", [TeapotError(), KeyError("grouped")])


@app.get("/crash/buggy-handler")
async def crash_buggy_handler() -> None:
    raise BuggyError


@app.get("/crash/cause")
async def crash_cause() -> None:
    try:
        await crash()
    except KeyError as exc:
        raise RuntimeError("with a cause") from exc


# Own errors: their status and level.


@app.get("/own/unavailable")
async def own_unavailable() -> None:
    raise UnavailableError("a part is missing")


@app.get("/own/teapot")
async def own_teapot() -> None:
    raise TeapotError


@app.get("/own/group-of-one")
async def own_group_of_one() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(own_unavailable())


@app.get("/own/logged-by-library")
async def own_logged_by_library() -> None:
    try:
        await crash()
    except KeyError as exc:
        library.exception("it went wrong")
        raise UnavailableError("a library failed") from exc


@app.get("/crash/logged-by-library")
async def crash_logged_by_library() -> None:
    try:
        await crash()
    except KeyError:
        library.exception("it went wrong")
        raise


# HTTPExceptions.


async def unauthorised() -> None:
    raise HTTPException(401, "not authenticated", {"WWW-Authenticate": "Bearer"})


@app.get("/http/dependency", dependencies=[Depends(unauthorised)])
async def http_dependency() -> None: ...


@app.get("/http/500")
async def http_500() -> None:
    raise HTTPException(500, "chosen")


# After the response.


async def fail_in_task() -> None:
    await asyncio.sleep(0)
    lookup("task")


def fail_in_thread() -> None:
    lookup("thread")


async def fail_with_own_error() -> None:
    raise UnavailableError("task")


@app.get("/after/task")
async def after_task() -> str:
    asyncio.create_task(fail_in_task())  # noqa: RUF006 - nobody awaits it
    return "done"


@app.get("/after/background")
async def after_background(tasks: BackgroundTasks) -> str:
    tasks.add_task(fail_in_task)
    return "done"


@app.get("/after/background-sync")
def after_background_sync(tasks: BackgroundTasks) -> str:
    tasks.add_task(fail_in_thread)
    return "done"


@app.get("/after/background-own")
async def after_background_own(tasks: BackgroundTasks) -> str:
    tasks.add_task(fail_with_own_error)
    return "done"


async def failing_at_exit() -> AsyncIterator[None]:
    yield
    lookup("exit")


@app.get("/after/yield", dependencies=[Depends(failing_at_exit)])
async def after_yield() -> str:
    return "done"


# Streams.


async def first_chunk() -> AsyncIterator[bytes]:
    lookup("first")
    yield b""


def later_chunk() -> Iterator[bytes]:
    yield b"a" * 100
    lookup("later")


@app.get("/stream/first")
async def stream_first() -> StreamingResponse:
    return StreamingResponse(first_chunk())


@app.get("/stream/later")
async def stream_later() -> StreamingResponse:
    return StreamingResponse(later_chunk())


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"a" * 1000
        await asyncio.sleep(0.01)


@app.get("/stream/endless")
async def stream_endless() -> StreamingResponse:
    return StreamingResponse(endless())


# Bodies.


class Login(BaseModel):
    """A body with a secret, a number and a validator."""

    name: str
    password: str = "x"
    amount: float = Field(default=1, allow_inf_nan=False)

    @field_validator("name")
    @classmethod
    def _no_bob(cls, value: str) -> str:
        if value.startswith("bob"):
            raise ValueError(f"{value} is not welcome")
        return value


@app.post("/body")
async def body(login: Login) -> str:
    return login.name


@app.post("/body/raw")
async def body_raw(request: Request) -> int:
    return len(await request.body())


@app.post("/body/ignored")
async def body_ignored() -> str:
    return "never read"


@app.post("/body/any")
async def body_any(value: Annotated[Any, Body()]) -> None: ...


@app.post("/body/echo")
async def body_echo(value: Annotated[Any, Body()]) -> Any:
    return value


@app.get("/body/slash/")
async def body_slash() -> None: ...


# WebSockets.


@app.websocket("/ws/before")
async def ws_before(websocket: WebSocket) -> None:
    lookup("before")


@app.websocket("/ws/after")
async def ws_after(websocket: WebSocket) -> None:
    await websocket.accept()
    lookup("after")


@app.websocket("/ws/refused", dependencies=[Depends(unauthorised)])
async def ws_refused(websocket: WebSocket) -> None: ...


@app.websocket("/ws/closed")
async def ws_closed(websocket: WebSocket) -> None:
    await websocket.close()


@app.websocket("/ws/silent")
async def ws_silent(websocket: WebSocket) -> None: ...


@app.websocket("/ws/echo")
async def ws_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())


@app.websocket("/ws/json")
async def ws_json(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_json(await websocket.receive_json())


# Ids.


def log_in_thread(where: str) -> None:
    logging.getLogger("app").info(where)


async def log_in_task() -> None:
    log_in_thread("task")


@app.get("/ids")
async def ids(tasks: BackgroundTasks, wait: float = 0) -> None:
    log_in_thread("endpoint")
    await asyncio.sleep(wait)
    await asyncio.create_task(log_in_task())
    await asyncio.get_running_loop().run_in_executor(None, log_in_thread, "executor")
    await asyncio.to_thread(log_in_thread, "thread")
    library.warning("library")
    tasks.add_task(log_in_thread, "background")


@app.get("/relay")
async def relay(to: str) -> int:
    async with UpstreamClient(to, observe=observe_calls("X-Request-ID")) as client:
        return (await client.get("/nowhere")).status_code


@app.get("/slow")
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@app.get("/log")
async def log_secrets() -> None:
    url = "amqp://me:hunter2@queue/x"
    library.error(
        "cannot reach %s",
        url,
        extra={"password": "hunter2", "nested": {"api_key": "hunter2"}, "text": "a\nb"},
    )


# Mounted applications.


mounted = FastAPI()


@mounted.get("/crash")
async def mounted_crash() -> None:
    lookup("mounted")


@mounted.get("/own")
async def mounted_own() -> None:
    raise UnavailableError("mounted")


async def crash_in_middleware(request: Request, call_next: Any) -> Any:
    if request.url.path.endswith("/crash-in-middleware"):
        lookup("middleware")
    return await call_next(request)


mounted.add_middleware(BaseHTTPMiddleware, dispatch=crash_in_middleware)
app.mount("/mounted", mounted)


async def no_response(scope: Scope, receive: Receive, send: Send) -> None: ...


app.mount("/silent", no_response)
