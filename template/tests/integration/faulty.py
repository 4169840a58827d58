"""Routes that go wrong in every way a request can, on top of the service."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import BackgroundTasks, Body, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, field_validator
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import Receive, Scope, Send

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
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class Strange:
    """Nothing that JSON knows."""

    __slots__ = ("itself",)

    def __init__(self) -> None:
        self.itself = self


class Faulty:
    """Pure middleware that fails for certain paths."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        failures = {
            "/middleware/crash": KeyError("middleware"),
            "/middleware/own": UnavailableError("the middleware needs a rest"),
            "/middleware/http": HTTPException(403, "not you"),
        }
        if failure := failures.get(scope.get("path", "")):
            raise failure
        await self.app(scope, receive, send)


def lookup(key: str) -> None:
    """Fail, as code does that nobody has thought through."""
    dict[str, None]()[key]


async def buggy_handler(request: Request, exc: Exception) -> JSONResponse:
    lookup("bug")
    return JSONResponse(None)


app = create_app()
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


async def crashing() -> None:
    lookup("dependency")


@app.get("/crash/dependency", dependencies=[Depends(crashing)])
async def crash_dependency() -> None: ...


async def crashing_early() -> AsyncIterator[None]:
    lookup("early")
    yield


@app.get("/crash/yield-early", dependencies=[Depends(crashing_early)])
async def crash_yield_early() -> None: ...


class Answer(BaseModel):
    """What a route promises."""

    number: int


@app.get("/crash/response-model")
async def crash_response_model() -> Answer:
    return {"number": "hunter2"}  # type: ignore[return-value]


@app.get("/crash/nan")
async def crash_nan() -> JSONResponse:
    return JSONResponse({"number": float("nan")})


@app.get("/crash/unserialisable", response_model=None)
async def crash_unserialisable() -> Any:
    return Strange()


@app.get("/crash/secret")
async def crash_secret() -> None:
    raise ConnectionError("amqp://me:hunter2@queue/x refuses")


@app.get("/crash/at/{text:path}")
async def crash_at(text: str) -> None:
    raise LookupError(text)


@app.get("/crash/strange")
async def crash_strange() -> None:
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
        group.create_task(crashing())


@app.get("/crash/group")
async def crash_group() -> None:
    raise ExceptionGroup("two at once", [TeapotError(), KeyError("grouped")])


@app.get("/crash/buggy-handler")
async def crash_buggy_handler() -> None:
    raise BuggyError


@app.get("/crash/cause")
async def crash_cause() -> None:
    try:
        await crashing()
    except KeyError as exc:
        raise RuntimeError("because") from exc


# Errors of our own: their status and level.


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
        await crashing()
    except KeyError as exc:
        library.exception("it went wrong")
        raise UnavailableError("a library failed") from exc


@app.get("/crash/logged-by-library")
async def crash_logged_by_library() -> None:
    try:
        await crashing()
    except KeyError:
        library.exception("it went wrong")
        raise


# HTTPExceptions.


async def only_known() -> None:
    raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})


@app.get("/http/dependency", dependencies=[Depends(only_known)])
async def http_dependency() -> None: ...


@app.get("/http/500")
async def http_500() -> None:
    raise HTTPException(500, "chosen")


# After the answer.


async def failing_later() -> None:
    await asyncio.sleep(0)
    lookup("later")


def failing_later_in_thread() -> None:
    lookup("later")


async def failing_later_as_known() -> None:
    raise UnavailableError("later")


@app.get("/after/task")
async def after_task() -> str:
    asyncio.ensure_future(failing_later())  # noqa: RUF006 - nobody awaits it
    return "answer"


@app.get("/after/background")
async def after_background(tasks: BackgroundTasks) -> str:
    tasks.add_task(failing_later)
    return "answer"


@app.get("/after/background-sync")
def after_background_sync(tasks: BackgroundTasks) -> str:
    tasks.add_task(failing_later_in_thread)
    return "answer"


@app.get("/after/background-own")
async def after_background_own(tasks: BackgroundTasks) -> str:
    tasks.add_task(failing_later_as_known)
    return "answer"


async def failing_at_the_end() -> AsyncIterator[None]:
    yield
    lookup("end")


@app.get("/after/yield", dependencies=[Depends(failing_at_the_end)])
async def after_yield() -> str:
    return "answer"


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
    """What someone sends."""

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


# WebSockets.


@app.websocket("/ws/before")
async def ws_before(websocket: WebSocket) -> None:
    lookup("before")


@app.websocket("/ws/after")
async def ws_after(websocket: WebSocket) -> None:
    await websocket.accept()
    lookup("after")


@app.websocket("/ws/refused", dependencies=[Depends(only_known)])
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


@app.get("/tell")
async def tell() -> None:
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


async def passing(request: Request, call_next: Any) -> Any:
    if request.url.path.endswith("/crash-in-middleware"):
        lookup("middleware")
    return await call_next(request)


mounted.add_middleware(BaseHTTPMiddleware, dispatch=passing)
app.mount("/mounted", mounted)


async def says_nothing(scope: Scope, receive: Receive, send: Send) -> None: ...


app.mount("/silent", says_nothing)
