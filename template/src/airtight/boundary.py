"""The outermost ASGI layer: what fails inside is answered and logged, with the request's id."""

import random
import re
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any

import anyio
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..utils.errors import APIError, RequestTooLargeError, UnavailableError
from .classification import close_code, is_cancelled_from_outside, must_propagate
from .context import RequestContext, current_context, is_oversized, members
from .hooks import request_started
from .logging import log_access, report_exception

SWITCHING_PROTOCOLS = 101  # what the access line shows for a WebSocket that was accepted
VALID_ID = re.compile(rb"[A-Za-z0-9._:/=+-]{1,128}")
# As RFC 9110 has them; uvicorn finds out after it has noted that the response began.
INVALID_VALUE = re.compile(rb"[\x00-\x08\n-\x1f\x7f]")
VALID_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MAX_LENGTH_DIGITS = 18  # of a Content-Length; Python refuses to convert more than 4,300
DRAINED_BYTES = 64_000_000  # of a body that was refused; a client that still sends sees a reset
DRAINED_SECONDS = 5.0
EXCHANGE = "airtight.exchange"  # the key of a scope that has a boundary around it already
# The key of the class of error with which the server refuses a request.
REFUSAL = "airtight.refusal"

Header = tuple[bytes, bytes]
Respond = Callable[[Scope, BaseException], Awaitable[Response]]
Wrap = Callable[[ASGIApp], ASGIApp]


class InvalidResponseError(Exception):
    """The application has made a response that cannot be sent."""


class OpenRequests:
    """The requests and WebSockets that this process serves now.

    An attribute of a class would be slower to change: Python then forgets what it has looked up in
    the class.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


open_requests = OpenRequests()


class ErrorBoundary:
    """Answers and logs what fails in an application, outside of all of its middleware.

    It stands around Starlette's `ServerErrorMiddleware`, which raises again what it has answered;
    servers would log that a second time.

    Args:
        app: the application.
        respond: logs an exception and returns the response to it.
        request_id_header: the name of the header with the correlation id.
        wrap_response: puts around a response what `app` has around it, such as CORS.
    """

    def __init__(
        self, app: ASGIApp, respond: Respond, request_id_header: str, wrap_response: Wrap
    ) -> None:
        self.app = app
        self.respond = respond
        self.wrap_response = wrap_response
        self.header = request_id_header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket; one that has a boundary already passes through."""
        if scope["type"] not in ("http", "websocket") or EXCHANGE in scope:
            await self.app(scope, receive, send)
            return
        exchange = Exchange(self, scope, receive, send)
        caller = current_context.set(exchange.context)
        open_requests.count += 1
        try:
            await exchange.run()
        finally:
            open_requests.count -= 1
            current_context.reset(caller)
            scope.pop(EXCHANGE, None)  # else both live until the garbage collector finds the cycle


class Exchange:
    """One request and the response to it, or one WebSocket.

    Attributes:
        context: what log records say of the request.
        failure: what has failed below a `BaseHTTPMiddleware` after the response had begun.
    """

    __slots__ = (
        "_boundary",
        "_content_length",
        "_has_body_ended",
        "_is_nested",
        "_is_replaced",
        "_receive",
        "_request_id",
        "_send",
        "_started_at",
        "context",
        "failure",
        "scope",
    )

    def __init__(self, boundary: ErrorBoundary, scope: Scope, receive: Receive, send: Send) -> None:
        self._boundary = boundary
        self._receive = receive
        self._send = send
        self._started_at = perf_counter()
        self._content_length = b""
        self._is_replaced = False
        self._has_body_ended = False
        self.scope = scope
        self.failure: BaseException | None = None
        caller = current_context.get()
        request_id = self._read_headers(boundary.header)
        self._is_nested = is_within(caller, request_id)
        if self._is_nested and caller and caller.correlation_id:
            request_id = caller.correlation_id.encode()
        elif not VALID_ID.fullmatch(request_id):
            request_id = b"%032x" % random.getrandbits(128)  # an id, not a secret
        self._request_id = request_id
        self.context = RequestContext(request_id.decode())
        if self._is_nested and caller:
            self.context.subject = caller.subject
        scope["headers"] = replace_header(scope["headers"], boundary.header, request_id)
        scope[EXCHANGE] = self

    def _read_headers(self, name: bytes) -> bytes:
        """Note what is needed of the headers, and return the id that the client has sent."""
        request_id = b""
        for header, value in self.scope["headers"]:
            if header == name:
                request_id = value
            elif header == b"content-length":
                self._content_length = value
        return request_id

    async def run(self) -> None:
        """Serve the request; an exception that somebody outside waits for goes on."""
        try:
            if not self._is_nested:
                for hook in request_started:
                    hook(self.scope, self.context.correlation_id or "")
            if REFUSAL in self.scope:
                raise self.scope[REFUSAL]()
            if len(self._content_length) > MAX_LENGTH_DIGITS:
                raise RequestTooLargeError
            await self._boundary.app(self.scope, self.receive, self.send)
            if not (self._has_responded() or self.context.client_disconnected):
                raise APIError("The application returned without a complete response.")
        except GeneratorExit:
            raise
        except BaseException as exc:
            if await self._handle_failure(exc):
                raise
        finally:
            self.failure = None
            if not self.context.response_complete:
                self._log_access()

    def _has_responded(self) -> bool:
        if self.scope["type"] == "websocket":
            return self.context.response_started
        return self.context.response_complete

    async def receive(self) -> Message:
        """Receive a message from the server, and note the end of the body and of the client."""
        message = await self._receive()
        if REFUSAL in self.scope and not self._has_body_ended:
            raise self.scope[REFUSAL]()
        if not message.get("more_body"):
            self._has_body_ended = True
        if holds_surrogates(message.get("body") or b""):
            self.context.may_hold_surrogates = True
        if message["type"].endswith(".disconnect") and not self.context.response_complete:
            self.context.client_disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """Send a message to the server; a status counts once the server has accepted it."""
        if self._is_replaced:
            return
        kind = message["type"]
        if kind.endswith(".start") or kind == "websocket.accept":
            await self._send_start(message)
            return
        if kind == "websocket.close" and self._can_deny():
            await self._deny()
            return
        is_last = is_last_message(message)
        if is_last and self.failure and not message.get("body"):
            raise self.failure  # else a middleware would make a broken stream look complete
        await self._send_to_server(message)
        if kind == "websocket.close" and not self.context.status:
            self.context.status = 403
        if is_last:
            self.context.response_complete = True
            self._log_access()

    async def _send_start(self, message: Message) -> None:
        status = message.get("status", SWITCHING_PROTOCOLS)
        name = self._boundary.header
        headers = list(message.get("headers", ()))
        check_start(status, headers)
        headers = replace_header(headers, name, self._request_id)
        if status == 307:
            headers = [self._within_host(header) for header in headers]
        if status == 413:
            if self._is_plain_413(headers):
                await self._replace_response(RequestTooLargeError())
                return
            await self._drain_body()
        await self._send_to_server({**message, "headers": headers})
        self.context.status = status

    def _within_host(self, header: Header) -> Header:
        """Return a header in which a redirect to the same host does not repeat what the client said.

        Starlette redirects to a path with a slash more or less at the host of the request, whatever
        that is, so that a cache could lead others there.
        """
        name, value = header
        if name.lower() != b"location":
            return header
        hosts = [other for key, other in self.scope["headers"] if key == b"host"]
        for host in hosts:
            origin = self.scope.get("scheme", "http").encode() + b"://" + host
            if value.startswith(origin + b"/"):
                path = value.removeprefix(origin)
                return name, b"/." + path if path.startswith(b"//") else path
        return header

    async def _send_to_server(self, message: Message) -> None:
        try:
            await self._send(message)
        except RuntimeError as exc:
            # uvloop's words for a connection that the client has closed.
            if "the handler is closed" not in str(exc):
                raise
            self.context.client_disconnected = True

    async def _replace_response(self, exc: BaseException) -> None:
        response = await self._respond(exc)
        await self._boundary.wrap_response(response)(self.scope, self.receive, self.send)
        self._is_replaced = True

    def _is_plain_413(self, headers: list[Header]) -> bool:
        """Return whether Starlette answers by itself that the body is too large, as plain text."""
        if "starlette.max_body_size" not in self.scope:
            return False
        found = dict(headers)
        return (
            found.get(b"content-length") == b"17"  # of "Content Too Large"
            and found.get(b"content-type", b"").startswith(b"text/plain")
        )

    async def _drain_body(self) -> None:
        """Read a bounded rest of the body: a client that still sends reads no response."""
        if any(name == b"expect" for name, _ in self.scope["headers"]):
            return  # it waits for our word before it sends
        received = 0
        with anyio.move_on_after(DRAINED_SECONDS):
            while received < DRAINED_BYTES and not self._has_body_ended:
                message = await self.receive()
                received += len(message.get("body", b""))

    def _can_deny(self) -> bool:
        """Return whether a refused WebSocket can get an HTTP response, which has the id.

        Test clients, whose scope names no version of ASGI, expect the code of the refusal.
        """
        if self.context.response_started or "asgi" not in self.scope:
            return False
        return "websocket.http.response" in self.scope.get("extensions", {})

    async def _deny(self) -> None:
        await self.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await self.send({"type": "websocket.http.response.body", "body": b""})

    async def _handle_failure(self, exc: BaseException) -> bool:
        """Answer and log an exception; return whether it goes on."""
        context = self.context
        ends_connection = must_propagate(exc)
        propagates = ends_connection or self._is_test_client()
        if self._is_nested and is_cancelled_from_outside(exc):
            return True  # the caller cancels what it has called itself
        response = await self._respond(exc)
        if context.response_complete or context.client_disconnected:
            return propagates
        if self.scope["type"] == "websocket" and (context.response_started or not self._can_deny()):
            if self._is_test_client():
                return True  # a test that leaves meanwhile would cancel this, and see no exception
            await self.send({"type": "websocket.close", "code": close_code(exc)})
            return propagates
        if context.response_started:
            return True  # the server cuts the connection, so that the client sees the loss
        if ends_connection and self.scope.get("http_version") == "1.1":
            # The server closes the connection after this; a client that reuses it sees a reset.
            response.headers["connection"] = "close"
        await self._boundary.wrap_response(response)(self.scope, self.receive, self.send)
        return propagates

    async def _respond(self, exc: BaseException) -> Response:
        if is_cancelled_from_outside(exc):
            self.context.mark_reported(exc)
            exc = UnavailableError("The service stops, and the time for open requests is over.")
        try:
            return await self._boundary.respond(self.scope, exc)
        except Exception as bug:  # noqa: BLE001 - there is nothing behind this
            report_exception(bug, message="the error handler failed")
            return PlainTextResponse("Internal Server Error", 500)

    def _is_test_client(self) -> bool:
        """Return whether a test client asks to have exceptions raised."""
        if self.scope["type"] == "websocket":
            return "asgi" not in self.scope
        return "http.response.debug" in self.scope.get("extensions", {})

    def _log_access(self) -> None:
        if self._is_nested:
            return
        context = self.context
        status = context.status or 500
        if context.client_disconnected and context.status != SWITCHING_PROTOCOLS:
            status = 499
        log_access(self.scope, status, self._started_at)


class GroupLimit:
    """An inner ASGI layer: raises one exception in place of a group of very many.

    FastAPI splits groups while it looks for a body over the limit, and Python does that by
    recursion: one of 2**30 members takes hours, one of 5,000 levels is a `RecursionError`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        try:
            await self.app(scope, receive, send)
        except BaseExceptionGroup as group:
            if is_oversized(group):
                raise members(group)[0] from None
            raise


class FailureAfterStart:
    """The innermost ASGI layer: notes what fails after the response has begun.

    A `BaseHTTPMiddleware` around it ends such a response as if it were complete
    (Kludex/starlette#1459), so that the client takes a part for the whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        exchange: Exchange | None = scope.get(EXCHANGE)
        if exchange is None or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = started or message["type"].endswith(".start")
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except BaseException as exc:
            if started:
                exchange.failure = exc
            raise


def is_within(caller: RequestContext | None, request_id: bytes) -> bool:
    """Return whether a request is a call in-process, for the request of its caller."""
    if caller is None or caller.response_complete or caller.correlation_id is None:
        return False
    return request_id in (b"", caller.correlation_id.encode())


def replace_header(headers: Iterable[Header], name: bytes, value: bytes) -> list[Header]:
    """Return headers in which one, given in lower case, has this value alone."""
    others = [header for header in headers if header[0].lower() != name]
    return [*others, (name, value)]


def is_last_message(message: Message) -> bool:
    """Return whether a message completes a response, or closes a WebSocket."""
    kind = message["type"]
    if kind.endswith(".body"):
        return not message.get("more_body", False)
    return kind in ("websocket.close", "http.response.pathsend")


def holds_surrogates(body: bytes) -> bool:
    """Return whether a body may have JSON's escapes of half a character; most have no escape."""
    return b"\\" in body and (b"\\ud" in body or b"\\uD" in body)


def check_start(status: Any, headers: list[Header]) -> None:
    """Refuse what a server would refuse after it has noted that the response began.

    Raises:
        InvalidResponseError: the status or a header cannot be sent.
    """
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise InvalidResponseError(f"status {status!r:.50} cannot be sent")
    for name, value in headers:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise InvalidResponseError("a header is not of bytes")
        if INVALID_VALUE.search(value) or not VALID_NAME.fullmatch(name):
            raise InvalidResponseError("a header has a character that cannot be sent")
        if name.lower() == b"content-length" and not value.isdigit():
            raise InvalidResponseError("Content-Length is not a number")
