"""The guard around the whole application: the id in and out, one line a request, the last resort."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from time import perf_counter
from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from src.utils.errors import APIError, RequestTooLargeError, UnavailableError
from src.airtight.context import RequestContext, current_context
from src.airtight.logging.handler import log_access, report_exception
from src.airtight.hooks import request_began

# copier: if false
# isort: on
# fmt: on
# copier: endif

SWITCHED = 101  # to a WebSocket
VALID_ID = re.compile(rb"[A-Za-z0-9._:/=+-]{1,128}")


class ErrorBoundary:
    """Stands outside Starlette's `ServerErrorMiddleware`, which raises again whatever it has answered.

    `answer` reports an error and returns the response to it; `wrap` puts around that what `app` has around it.
    """

    def __init__(
        self, app: ASGIApp, header: str, limit: int, answer: Callable[..., Response], wrap: Any
    ) -> None:
        self.app, self._answer, self._wrap = app, answer, wrap
        self._header, self._limit = header.lower().encode(), limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        began, status, size, done, given = perf_counter(), 0, 0, False, b""
        for name, value in scope["headers"]:
            if name == self._header:
                given = value
            elif name == b"content-length" and value.isdigit():
                size = int(value)
        if not VALID_ID.fullmatch(given):
            given = b"%032x" % random.getrandbits(128)  # an id, not a secret
        current_context.set(context := RequestContext(correlation_id := given.decode()))
        for hook in request_began:
            hook(scope, correlation_id)

        def check_size() -> None:
            if size > self._limit:
                raise RequestTooLargeError

        async def guarded_receive() -> Message:
            nonlocal size
            message = await receive()
            context.client_disconnected = not done and message["type"].endswith(".disconnect")
            size += len(message.get("body", b""))
            check_size()
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal done, status
            kind = message["type"]
            if kind.endswith(".start") or kind == "websocket.accept":
                status = message.get("status", SWITCHED)
                headers = [
                    header for header in message.get("headers", ()) if header[0] != self._header
                ]
                message["headers"] = [*headers, (self._header, given)]
            elif (
                kind == "websocket.close" and not status
            ):  # a refusal, as an answer that has the id
                status, headers = 403, [(self._header, given)]
                await send(
                    {"type": "websocket.http.response.start", "status": status, "headers": headers}
                )
                message = {"type": "websocket.http.response.body", "body": b""}
            await send(message)
            if kind == "websocket.close" or (
                kind.endswith(".body") and not message.get("more_body")
            ):
                done = True
                log_access(scope, status, began)

        try:
            check_size()
            size = 0
            await self.app(scope, guarded_receive, guarded_send)
            if not (status or done or context.client_disconnected):
                raise APIError("The application returned without an answer.")
        except GeneratorExit:
            raise
        except BaseException as exc:
            response = self._respond(scope, context, exc)
            if not (status or done or context.client_disconnected):
                await self._wrap(response)(scope, receive, guarded_send)
            elif scope["type"] == "websocket" and not (done or context.client_disconnected):
                await guarded_send({"type": "websocket.close", "code": 1011})
            elif not (done or context.client_disconnected):
                raise  # the server cuts the connection, so that the client sees the loss
        finally:
            if not done:
                log_access(
                    scope,
                    499 if context.client_disconnected and status != SWITCHED else status or 500,
                    began,
                )

    def _respond(self, scope: Scope, context: RequestContext, exc: BaseException) -> Response:
        task = asyncio.current_task()
        if isinstance(exc, asyncio.CancelledError) and task and task.cancelling():
            context.mark_reported(exc)
            exc = UnavailableError("The service stops, and the time for open requests is over.")
        try:
            return self._answer(scope, exc)
        except Exception as bug:  # noqa: BLE001 - there is nothing behind this
            report_exception(bug, message="the error handler failed")
            return PlainTextResponse("Internal Server Error", 500)


class ContextExecutor(ThreadPoolExecutor):
    """Threads for `run_in_executor` that know for which request they work."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a copy of the caller's context."""
        return super().submit(copy_context().run, fn, *args, **kwargs)


def report_task_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell of a task that failed and that nobody awaits, with the id of the request that made it."""
    exc = context.get("exception")
    home: Any = getattr(
        context.get("future") or context.get("task"), "get_context", copy_context
    )()  # 3.11 has none
    if exc:
        home.run(report_exception, exc)
    else:
        loop.default_exception_handler(context)


@asynccontextmanager
async def report_lifespan_errors() -> AsyncIterator[None]:
    """Tell once what keeps the application from starting or stopping."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ContextExecutor())
    loop.set_exception_handler(report_task_error)
    current_context.set(RequestContext(None))
    try:
        yield
    except BaseException as exc:
        report_exception(exc, logging.CRITICAL, "the service cannot run")
        raise
