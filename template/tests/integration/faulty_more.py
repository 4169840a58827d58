"""Routes that go wrong in ways that users of FastAPI have reported, on top of the service."""

import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx2
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    WebSocket,
    WebSocketDisconnect,
    WebSocketException,
)
from fastapi.exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
)
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from src.airtight.lifespan import ContextThreadPoolExecutor
from src.main import create_app
from src.utils.errors import APIError, RequestTooLargeError, UnavailableError

logger = logging.getLogger("app")


class TeapotError(APIError):
    """This is a teapot."""

    status_code = 418
    detail = "Short and stout."


def crash() -> None:
    raise LookupError("a bug")


app = create_app()


# Errors that refer to each other.


def cycle_of_causes(length: int) -> Exception:
    """Return an error that is, over as many links, its own cause."""
    errors = [LookupError(f"error {number}") for number in range(length)]
    for number, error in enumerate(errors):
        error.__cause__ = errors[(number + 1) % length]
    return errors[0]


def cycle_of_contexts(length: int) -> Exception:
    """Return an error that was, over as many links, raised while it was handled."""
    errors = [LookupError(f"error {number}") for number in range(length)]
    for number, error in enumerate(errors):
        error.__context__ = errors[(number + 1) % length]
    return errors[0]


def cycle_through_group() -> Exception:
    """Return a group whose member was caused by the group."""
    member = LookupError("member")
    group = ExceptionGroup("group", [member])
    member.__cause__ = group
    return group


def cycle_of_own_errors() -> Exception:
    """Return an own error that is the cause of its cause."""
    error = UnavailableError("a part is missing")
    error.__cause__ = LookupError("cause")
    error.__cause__.__cause__ = error
    return error


def chain_of_causes() -> Exception:
    """Return an error with more causes than can be followed by recursion."""
    error = LookupError("first")
    for number in range(5_000):
        following = LookupError(f"error {number}")
        following.__cause__ = error
        error = following
    return error


def nested_groups() -> Exception:
    """Return groups in groups, more than can be followed by recursion."""
    error: Exception = LookupError("member")
    for number in range(5_000):
        error = ExceptionGroup(f"group {number}", [error])
    return error


def wide_groups() -> Exception:
    """Return a tree of groups that has too many leaves to visit each."""
    error: Exception = LookupError("leaf")
    for number in range(30):
        error = ExceptionGroup(f"group {number}", [error, error])
    return error


CIRCULAR: dict[str, Callable[[], Exception]] = {
    "own-cause": lambda: cycle_of_causes(1),
    "causes": lambda: cycle_of_causes(2),
    "many-causes": lambda: cycle_of_causes(50),
    "own-context": lambda: cycle_of_contexts(1),
    "contexts": lambda: cycle_of_contexts(3),
    "group": cycle_through_group,
    "own-errors": cycle_of_own_errors,
    "chain": chain_of_causes,
    "nested-groups": nested_groups,
    "wide-groups": wide_groups,
}


@app.get("/circular/{kind}")
async def circular(kind: str) -> None:
    raise CIRCULAR[kind]()


@app.get("/circular-from-itself")
async def circular_from_itself() -> None:
    error = LookupError("itself")
    raise error from error


# Validation errors that were not made by FastAPI.

INVALID: dict[str, Any] = {
    "no-type": [{"loc": ["body", "name"], "msg": "is taken"}],
    "no-loc": [{"type": "taken", "msg": "is taken"}],
    "no-msg": [{"type": "taken", "loc": ["body", "name"]}],
    "empty-dict": [{}],
    "loc-is-text": [{"type": "taken", "loc": "name", "msg": "is taken"}],
    "loc-is-none": [{"type": "taken", "loc": None, "msg": "is taken"}],
    "msg-is-a-number": [{"type": "taken", "loc": ["name"], "msg": 7, "input": "x"}],
    "texts": ["name is taken", "age is too low"],
    "text": "name is taken",
    "nones": [None],
    "none": None,
    "dict": {"name": "is taken"},
    "error": ValueError("name is taken"),
    "nothing": [],
    "mixed": [{"type": "taken", "loc": ("body",), "msg": "is taken"}, "text", 7],
}


@app.get("/invalid/{kind}")
async def invalid(kind: str) -> None:
    raise RequestValidationError(INVALID[kind])


@app.get("/invalid-body/{kind}")
async def invalid_body(kind: str) -> None:
    raise RequestValidationError(INVALID[kind], body={"name": object()})


@app.get("/invalid-response/{kind}")
async def invalid_response(kind: str) -> None:
    raise ResponseValidationError(INVALID[kind])


# Errors that come too late to change the response.

LATE: dict[str, Callable[[], Exception]] = {
    "http": lambda: HTTPException(403, "not you"),
    "http-server-error": lambda: HTTPException(502, "bad gateway"),
    "http-group": lambda: ExceptionGroup("one", [HTTPException(403, "not you")]),
    "own": TeapotError,
    "own-group": lambda: ExceptionGroup("one", [TeapotError()]),
    "invalid": lambda: RequestValidationError(INVALID["no-type"]),
    "crash": lambda: LookupError("late"),
}


async def fail_after_first_chunk(kind: str) -> AsyncIterator[str]:
    yield "first"
    raise LATE[kind]()


def fail_after_first_chunk_in_thread(kind: str) -> Iterator[str]:
    yield "first"
    raise LATE[kind]()


@app.get("/late/stream/{kind}")
async def late_stream(kind: str) -> StreamingResponse:
    return StreamingResponse(fail_after_first_chunk(kind))


@app.get("/late/stream-in-thread/{kind}")
async def late_stream_in_thread(kind: str) -> StreamingResponse:
    return StreamingResponse(fail_after_first_chunk_in_thread(kind))


@app.get("/late/events/{kind}", response_class=EventSourceResponse)
async def late_events(kind: str) -> AsyncIterator[str]:
    yield "first"
    raise LATE[kind]()


@app.get("/late/events-in-thread/{kind}", response_class=EventSourceResponse)
def late_events_in_thread(kind: str) -> Iterator[str]:
    yield "first"
    raise LATE[kind]()


async def fail_in_background(kind: str) -> None:
    raise LATE[kind]()


@app.get("/late/background/{kind}")
async def late_background(kind: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(fail_in_background, kind)
    return "first"


async def fail_at_exit(kind: str) -> AsyncIterator[None]:
    yield
    raise LATE[kind]()


@app.get("/late/dependency/{kind}", dependencies=[Depends(fail_at_exit)])
async def late_dependency(kind: str) -> str:
    return "first"


# Background tasks of which one fails.


def send_mail() -> None:
    logger.info("mail sent")


async def update_statistics() -> None:
    logger.info("statistics updated")


@app.get("/background/crash")
async def background_crash(tasks: BackgroundTasks) -> str:
    tasks.add_task(crash)
    tasks.add_task(send_mail)
    tasks.add_task(update_statistics)
    return "accepted"


@app.get("/background/own")
def background_own(tasks: BackgroundTasks) -> str:
    tasks.add_task(fail_in_background, "own")
    tasks.add_task(update_statistics)
    return "accepted"


@app.get("/background/second")
async def background_second(tasks: BackgroundTasks) -> str:
    tasks.add_task(update_statistics)
    tasks.add_task(crash)
    tasks.add_task(send_mail)
    return "accepted"


@app.get("/background/last")
async def background_last(tasks: BackgroundTasks) -> str:
    tasks.add_task(send_mail)
    tasks.add_task(crash)
    return "accepted"


# Responses that no server can send.

UNSENDABLE: dict[str, Callable[[], Response]] = {
    "line-feed": lambda: Response(headers={"X-Note": "a\nb"}),
    "carriage-return": lambda: Response(headers={"X-Note": "a\rSet-Cookie: b=c"}),
    "nul": lambda: Response(headers={"X-Note": "a\0b"}),
    "name-with-space": lambda: Response(headers={"X Note": "a"}),
    "name-with-colon": lambda: Response(headers={"X-Note: a\r\nX-More": "b"}),
    "empty-name": lambda: Response(headers={"": "a"}),
    "stream": lambda: StreamingResponse(iter(["text"]), headers={"X-Note": "a\nb"}),
    "status-999": lambda: JSONResponse({}, 999),
    "status-0": lambda: JSONResponse({}, 0),
    "status-600": lambda: JSONResponse({}, 600),
    "status-text": lambda: JSONResponse({}, "200"),  # type: ignore[arg-type]
    "content-length": lambda: Response(headers={"Content-Length": "many"}),
}


@app.get("/unsendable/{kind}")
async def unsendable(kind: str) -> Response:
    return UNSENDABLE[kind]()


@app.get("/unsendable-error/http")
async def unsendable_http() -> None:
    raise HTTPException(409, "taken", {"X-Note": "a\r\nb"})


class UnsendableError(TeapotError):
    """The headers of this error cannot be sent."""

    headers = {"X-Note": "a\r\nb"}  # noqa: RUF012


@app.get("/unsendable-error/own")
async def unsendable_own() -> None:
    raise UnsendableError


BAD_HEADERS = {
    "value": [(b"x-note", b"a\r\nb")],
    "name": [(b"x note", b"a")],
    "text": [("x-note", "a")],
}


@app.websocket("/unsendable-accept/{kind}")
async def unsendable_accept(websocket: WebSocket, kind: str) -> None:
    await websocket.accept(headers=BAD_HEADERS[kind])  # type: ignore[arg-type]


@app.websocket("/unsendable-refusal/status")
async def unsendable_refusal_status(websocket: WebSocket) -> None:
    await websocket.send_denial_response(Response(status_code=700))


@app.websocket("/unsendable-refusal/header")
async def unsendable_refusal_header(websocket: WebSocket) -> None:
    await websocket.send_denial_response(Response("no", 403, {"X-Note": "a\r\nb"}))


UPSTREAM_HEADERS = {
    "length": {"Content-Length": "3"},
    "longer": {"content-length": "1000000"},
    "type": {"Content-Type": "text/html"},
    "encoding": {"Content-Encoding": "gzip", "Content-Length": "20"},
    "chunked": {"Transfer-Encoding": "chunked"},
}


@app.get("/upstream/{status}/{kind}")
async def upstream(status: int, kind: str) -> None:
    headers = {**UPSTREAM_HEADERS[kind], "X-Upstream": "kept"}
    raise HTTPException(status, "upstream failed", headers)


# Errors with a cause.

CAUSED: dict[str, tuple[Exception, Exception]] = {
    "410-from-own": (HTTPException(410, "gone"), UnavailableError("a part is missing")),
    "400-from-teapot": (HTTPException(400, "bad"), TeapotError()),
    "404-from-key-error": (HTTPException(404, "no such thing"), KeyError("thing")),
    "422-from-value-error": (HTTPException(422, "not so"), ValueError("no")),
    "503-from-key-error": (HTTPException(503, "later"), KeyError("thing")),
    "500-from-teapot": (HTTPException(500, "chosen"), TeapotError()),
    "own-from-http": (TeapotError(), HTTPException(503, "later")),
    "crash-from-http": (LookupError("a bug"), HTTPException(404, "no such thing")),
}


@app.get("/caused/{kind}")
async def caused(kind: str) -> None:
    error, cause = CAUSED[kind]
    raise error from cause


DETAILS: dict[str, Any] = {
    "dict": {"code": 7, "reason": "taken"},
    "list": ["taken", {"by": "ann"}],
    "empty-dict": {},
    "empty-list": [],
    "zero": 0,
    "false": False,
    "number": 2.5,
    "empty": "",
    "text": "taken",
}


@app.get("/detail/{kind}")
async def detail(kind: str) -> None:
    raise HTTPException(409, DETAILS[kind])


# Mounted applications.


class PassThrough:
    """Pure ASGI middleware that changes nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def raise_own(request: Request) -> None:
    raise UnavailableError("a part is missing")


async def raise_teapot(request: Request) -> None:
    raise TeapotError


async def raise_crash(request: Request) -> None:
    crash()


async def raise_http(request: Request) -> None:
    raise HTTPException(403, "not you")


async def raise_invalid(number: int) -> None: ...


async def succeed(request: Request) -> Response:
    return JSONResponse("fine")


ENDPOINTS = {
    "/own": raise_own,
    "/teapot": raise_teapot,
    "/crash": raise_crash,
    "/http": raise_http,
    "/fine": succeed,
}


def fastapi_application() -> FastAPI:
    """Return an application of FastAPI's that knows nothing of this service."""
    application = FastAPI()
    for path, endpoint in ENDPOINTS.items():
        application.add_api_route(path, endpoint, response_model=None)
    application.add_api_route("/invalid", raise_invalid)
    return application


def starlette_application() -> Starlette:
    """Return an application of Starlette's that knows nothing of this service."""
    return Starlette(routes=[Route(path, endpoint) for path, endpoint in ENDPOINTS.items()])


router = APIRouter()
router.mount("/mounted", fastapi_application())
app.include_router(router, prefix="/router")

outer = FastAPI()
middle = FastAPI()
middle.mount("/deep", fastapi_application())
outer.mount("/two", middle)
app.mount("/one", outer)

app.mount("/wrapped", PassThrough(PassThrough(fastapi_application())))
app.mount("/starlette", starlette_application())
app.router.routes.append(Mount("/group", routes=[Mount("/inner", fastapi_application())]))
app.router.routes.append(
    Mount("/routes", routes=[Route(path, endpoint) for path, endpoint in ENDPOINTS.items()])
)


# The whole service in the service.

nested = create_app()


@nested.get("/crash")
async def nested_crash() -> None:
    crash()


@nested.get("/own")
async def nested_own() -> None:
    raise TeapotError


@nested.get("/fine")
async def nested_fine(request: Request) -> str:
    logger.info("nested")
    return request.headers["x-request-id"]


app.mount("/v2", nested)


@app.get("/in-process/{path:path}")
async def in_process(path: str) -> int:
    transport = httpx2.ASGITransport(nested, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://nested") as client:
        response = await client.get(f"/{path}")
    logger.info("after the call")
    return response.status_code


@app.get("/in-process-then-crash/{path:path}")
async def in_process_then_crash(path: str) -> None:
    await in_process(path)
    crash()


# Limits of bodies.


async def count_bytes(request: Request) -> int:
    return len(await request.body())


async def count_fields(body: dict[str, Any]) -> int:
    return len(body)


large = APIRouter(prefix="/large", max_body_size=3_000_000)
large.add_api_route("/bytes", count_bytes, methods=["POST"])
large.add_api_route("/fields", count_fields, methods=["POST"])
large.add_api_route("/small", count_bytes, methods=["POST"], max_body_size=10)
app.include_router(large)

small = APIRouter(prefix="/small", max_body_size=10)
small.add_api_route("/bytes", count_bytes, methods=["POST"])
small.add_api_route("/fields", count_fields, methods=["POST"])
small.add_api_route("/large", count_bytes, methods=["POST"], max_body_size=3_000_000)
app.include_router(small)

app.add_api_route("/default/bytes", count_bytes, methods=["POST"])


# Ids.


@app.get("/id/headers")
async def id_in_headers(request: Request) -> list[str]:
    logger.info("endpoint")
    return request.headers.getlist("x-request-id")


@app.get("/id/response")
async def id_of_its_own(response: Response) -> str:
    response.headers["X-Request-ID"] = "set-by-endpoint"
    return "done"


# Records that cannot be formatted.


class Unprintable:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError

    __repr__ = __str__


class UnprintableError(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise ZeroDivisionError


def deep_list() -> list[Any]:
    """Return a list that is nested too deep for recursion."""
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    return value


def cyclic_dict() -> dict[str, Any]:
    """Return a dictionary that contains itself."""
    value: dict[str, Any] = {}
    value["itself"] = value
    return value


UNFORMATTED: dict[str, tuple[Any, ...]] = {
    "wrong-type": ("payment %d failed", "A-1"),
    "too-few": ("payment %s of %s failed", "A-1"),
    "too-many": ("payment failed", "A-1"),
    "missing-key": ("payment %(id)s failed", {"number": "A-1"}),
    "unknown-format": ("payment %y failed", "A-1"),
    "argument": ("payment %s of %s failed", Unprintable(), "A-1"),
    "repr": ("payment %r of %s failed", Unprintable(), "A-1"),
    "deep-argument": ("payment %s of %s failed", None, "A-1"),
    "message": (Unprintable(), "payment", "A-1"),
}

EXTRAS: dict[str, Any] = {
    "extra": Unprintable(),
    "extra-in-list": [1, Unprintable()],
    "extra-key": {Unprintable(): 1},
    "extra-error": UnprintableError(),
    "cyclic-extra": cyclic_dict(),
    "surrogate": "half a character: \udcff",
    "bytes": b"\xff\x00",
    "huge-number": 10**5_000,
    "nan": float("nan"),
}


def unformatted_call(kind: str) -> list[Any]:
    """Return the message and the arguments of a record that cannot be formatted."""
    call = list(UNFORMATTED[kind])
    if kind == "deep-argument":
        call[1] = deep_list()
    return call


def extra_value(kind: str) -> Any:
    """Return a value that cannot be written as it is."""
    return deep_list() if kind == "deep-extra" else EXTRAS[kind]


@app.get("/unformatted/{kind}")
async def unformatted(kind: str) -> None:
    message, *arguments = unformatted_call(kind)
    logger.error(message, *arguments)


@app.get("/unformatted-exception/{kind}")
async def unformatted_exception(kind: str) -> None:
    message, *arguments = unformatted_call(kind)
    try:
        crash()
    except LookupError:
        logger.exception(message, *arguments)


@app.get("/extra/{kind}")
async def extra(kind: str) -> None:
    logger.error("payment failed", extra={"thing": extra_value(kind), "payment": "A-1"})


@app.get("/unprintable-exception")
async def unprintable_exception() -> None:
    try:
        raise UnprintableError
    except UnprintableError:
        logger.exception("payment failed", extra={"payment": "A-1"})


@app.get("/long-record")
def long_record(size: int) -> None:
    fields = {f"field_{number}": "x" * 1_000 for number in range(size // 1_000)}
    logger.info("long record", extra=fields)


# What stays in memory.


class Payload:
    """What was sent with a request."""

    def __init__(self, body: bytes) -> None:
        self.body = body


payloads = weakref.WeakSet[Payload]()
survivors: list[Any] = []
never = threading.Event()
waiting_pool = ContextThreadPoolExecutor(max_workers=100)


def start_task() -> object:
    return asyncio.create_task(asyncio.Event().wait())


def start_timer() -> object:
    return asyncio.get_running_loop().call_later(3_600, crash)


def start_thread() -> object:
    return asyncio.get_running_loop().run_in_executor(waiting_pool, never.wait)


def copy_context() -> object:
    return contextvars.copy_context()


SURVIVORS: dict[str, Callable[[], object]] = {
    "task": start_task,
    "timer": start_timer,
    "thread": start_thread,
    "context": copy_context,
}


def raise_from_cause() -> None:
    try:
        crash()
    except LookupError as exc:
        raise UnavailableError("a part is missing") from exc


def raise_group() -> None:
    raise ExceptionGroup("two", [LookupError("first"), TeapotError()])


def raise_validation_error() -> None:
    raise RequestValidationError([{"type": "taken", "loc": ("body",), "msg": "is taken"}])


def raise_server_error() -> None:
    raise HTTPException(500, "chosen")


FAILURES: dict[str, Callable[[], None]] = {
    "crash": crash,
    "own": raise_from_cause,
    "group": raise_group,
    "invalid": raise_validation_error,
    "http": raise_server_error,
}


@app.post("/memory/{survivor}/{failure}")
async def memory(request: Request, survivor: str, failure: str) -> None:
    payload = Payload(await request.body())
    payloads.add(payload)
    survivors.append(SURVIVORS[survivor]())
    FAILURES[failure]()


@app.get("/payloads")
async def count_payloads() -> int:
    gc.collect()
    return len(payloads)


# Threads.

pool = ContextThreadPoolExecutor(max_workers=1)
own_pool = ThreadPoolExecutor(max_workers=1)


def raise_unavailable() -> None:
    raise UnavailableError("a part is missing")


@app.get("/thread/run-in-executor")
async def thread_run_in_executor() -> None:
    asyncio.get_running_loop().run_in_executor(None, crash)


@app.get("/thread/own-error")
async def thread_own_error() -> None:
    asyncio.get_running_loop().run_in_executor(None, raise_unavailable)


@app.get("/thread/run-in-pool")
async def thread_run_in_pool() -> None:
    asyncio.get_running_loop().run_in_executor(pool, crash)


@app.get("/thread/submit")
async def thread_submit() -> None:
    pool.submit(crash)


@app.get("/thread/submit-from-thread")
def thread_submit_from_thread() -> None:
    pool.submit(crash)


@app.get("/thread/run-in-own-pool")
async def thread_run_in_own_pool() -> None:
    asyncio.get_running_loop().run_in_executor(own_pool, crash)


@app.get("/thread/handled")
async def thread_handled() -> None:
    with suppress(LookupError):
        await asyncio.get_running_loop().run_in_executor(None, crash)
    with suppress(LookupError):
        await asyncio.to_thread(crash)
    with suppress(LookupError):
        await asyncio.wrap_future(pool.submit(crash))


@app.get("/thread/awaited")
async def thread_awaited() -> None:
    await asyncio.get_running_loop().run_in_executor(None, crash)


@app.get("/thread/submit-awaited")
async def thread_submit_awaited() -> None:
    await asyncio.wrap_future(pool.submit(crash))


# Exits and cancellation.

EXITS: dict[str, BaseException] = {
    "system-exit": SystemExit(1),
    "keyboard-interrupt": KeyboardInterrupt(),
    "cancelled": asyncio.CancelledError(),
    "own": BaseException("neither error nor exit"),
    "group": BaseExceptionGroup("one", [SystemExit(1)]),
}


def exit_by(kind: str) -> None:
    raise EXITS[kind]


@app.get("/exit/endpoint/{kind}")
async def exit_endpoint(kind: str) -> None:
    exit_by(kind)


@app.get("/exit/thread/{kind}")
def exit_thread(kind: str) -> None:
    exit_by(kind)


@app.get("/exit/dependency/{kind}", dependencies=[Depends(exit_by)])
async def exit_dependency(kind: str) -> None: ...


@app.get("/exit/background/{kind}")
async def exit_background(kind: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(exit_by, kind)
    return "accepted"


# WebSockets.

sockets = APIRouter(prefix="/sockets")


@sockets.websocket("/echo/{name}")
async def socket_echo(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


@sockets.websocket("/crash/{name}")
async def socket_crash(websocket: WebSocket, name: str) -> None:
    crash()


@sockets.websocket("/crash-after-accept/{name}")
async def socket_crash_after_accept(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    crash()


@sockets.websocket("/closed")
async def socket_closed(websocket: WebSocket) -> None:
    await websocket.close(4001, "not today")


@sockets.websocket("/refused")
async def socket_refused(websocket: WebSocket) -> None:
    raise WebSocketException(4002, "not you")


@sockets.websocket("/unauthorised")
async def socket_unauthorised(websocket: WebSocket) -> None:
    raise HTTPException(401, "who are you?")


@sockets.websocket("/invalid")
async def socket_invalid(websocket: WebSocket, count: int) -> None: ...


@sockets.websocket("/wait")
async def socket_wait(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.Event().wait()


@sockets.websocket("/push")
async def socket_push(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text("first")
        await asyncio.sleep(0.01)


app.include_router(sockets, prefix="/v1")

seen: list[str] = []


class SeeErrors:
    """Pure ASGI middleware that sees which errors reach it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as exc:
            seen.append(f"{scope['path']}: {exc!r}")
            raise


app.add_middleware(SeeErrors)


@app.get("/seen")
async def list_seen() -> list[str]:
    return seen


async def push_chunks() -> AsyncIterator[str]:
    while True:
        yield "first"
        await asyncio.sleep(0.01)


async def wait_for_second_chunk() -> AsyncIterator[str]:
    yield "first"
    await asyncio.Event().wait()


@app.get("/open/push")
async def open_push() -> StreamingResponse:
    return StreamingResponse(push_chunks())


@app.get("/open/wait")
async def open_wait() -> StreamingResponse:
    return StreamingResponse(wait_for_second_chunk())


@app.get("/open/events", response_class=EventSourceResponse)
async def open_events() -> AsyncIterator[str]:
    async for chunk in wait_for_second_chunk():
        yield chunk


# Handlers of the user's own.


async def handle(request: Request, exc: Exception) -> Response:
    """Handle an error as a user of FastAPI does."""
    return JSONResponse({"handled": type(exc).__name__}, 460, {"X-Handled": "yes"})


async def handle_like_a_library(request: Request, exc: Exception) -> Response:
    """Handle an error as a library does whose name begins like FastAPI's."""
    return JSONResponse({"handled": "by a library"}, 460)


handle_like_a_library.__module__ = "fastapi_problem.handler"


def add_failing_routes(application: FastAPI) -> FastAPI:
    """Return an application with routes that fail, and one that has a body."""
    for path, endpoint in ENDPOINTS.items():
        application.add_api_route(path, endpoint, response_model=None)
    application.add_api_route("/invalid", raise_invalid)
    application.add_api_route("/bytes", count_bytes, methods=["POST"])
    application.add_api_route("/body-ignored", succeed, methods=["POST"])
    return application


handlers_by_status = add_failing_routes(create_app())
for status in (403, 404, 405, 413, 500):
    handlers_by_status.add_exception_handler(status, handle)

classes: tuple[type[Exception], ...]

handlers_by_class = add_failing_routes(create_app())
classes = (Exception, TeapotError, RequestTooLargeError, RequestValidationError)
for error_class in (*classes, StarletteHTTPException):
    handlers_by_class.add_exception_handler(error_class, handle)

handlers_of_libraries = add_failing_routes(create_app())
classes = (Exception, APIError, RequestValidationError)
for error_class in (*classes, StarletteHTTPException):
    handlers_of_libraries.add_exception_handler(error_class, handle_like_a_library)

handlers_of_fastapi = add_failing_routes(create_app())
handlers_of_fastapi.add_exception_handler(StarletteHTTPException, http_exception_handler)  # type: ignore[arg-type]
handlers_of_fastapi.add_exception_handler(
    RequestValidationError,
    request_validation_exception_handler,  # type: ignore[arg-type]
)

between = FastAPI()
handlers_of_fastapi.mount("/between", between)
for mount, status_or_class in (("/by-status", 500), ("/by-class", Exception)):
    with_handler = add_failing_routes(FastAPI(exception_handlers={status_or_class: handle}))
    handlers_of_fastapi.mount(mount, with_handler)
    between.mount(mount, with_handler)


# The same routes behind the middleware that FastAPI's documentation shows.


async def pass_on(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    return await call_next(request)


class PassOn(BaseHTTPMiddleware):
    """The same as a class."""

    async def dispatch(
        self, request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        return await call_next(request)


async def wait_and_crash() -> None:
    crash()


def with_streams(application: FastAPI) -> FastAPI:
    """Return an application with routes that fail before and after their response has begun."""
    application.add_api_route("/crash/async", wait_and_crash)
    application.add_api_route("/crash/sync", crash)
    application.add_api_route("/crash/dependency", succeed, dependencies=[Depends(wait_and_crash)])
    application.add_api_route("/own", raise_own)
    application.add_api_route("/stream/{kind}", late_stream)
    application.add_api_route("/stream-in-thread/{kind}", late_stream_in_thread)
    application.add_api_route("/events/{kind}", late_events, response_class=EventSourceResponse)
    return application


one_middleware = with_streams(create_app())
one_middleware.middleware("http")(pass_on)

two_middlewares = with_streams(create_app())
two_middlewares.middleware("http")(pass_on)
two_middlewares.middleware("http")(pass_on)

middleware_class = with_streams(create_app())
middleware_class.add_middleware(PassOn)
