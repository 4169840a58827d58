"""The outermost ASGI layer: what fails inside is answered and logged, with the request's id."""

import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from time import perf_counter
from typing import Any

import anyio
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..utils.errors import APIError, RequestTooLargeError, UnavailableError
from .body_limit import ANNOUNCED, NO_BODY
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
CLOSED_BY_CLIENT = "the handler is closed"  # uvloop's words, once a client has left
DRAINED_BYTES = 64_000_000  # of a body that was refused; a client that still sends sees a reset
DRAINED_SECONDS = 5.0
# What a message begins, goes on with or ends: a response, or a WebSocket.
STARTS = {"http.response.start", "websocket.http.response.start", "websocket.accept"}
BODIES = {"http.response.body", "websocket.http.response.body"}
ENDS = {"http.response.pathsend", "websocket.close"}
EXCHANGE = "airtight.exchange"  # the key of a scope that has a boundary around it already
# The key of the class of error with which the server refuses a request.
REFUSAL = "airtight.refusal"

header_name = itemgetter(0)
header_value = itemgetter(1)

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
        await Exchange(self, scope, receive, send).serve()


class Exchange:
    """One request and the response to it, or one WebSocket.

    Attributes:
        context: what log records say of the request.
        failure: what has failed below a `BaseHTTPMiddleware` after the response had begun.
    """

    __slots__ = (
        "_boundary",
        "_has_body_ended",
        "_is_nested",
        "_is_replaced",
        "_receive",
        "_refusal",
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
        self._is_replaced = False
        self._has_body_ended = False
        self.scope = scope
        self.failure: BaseException | None = None
        headers = dict(scope["headers"])
        self._refusal: type[APIError] | None = scope.get(REFUSAL)
        self._note_body(headers)
        request_id = headers.get(boundary.header, b"")
        caller = current_context.get()
        self._is_nested = caller is not None and is_within(caller, request_id)
        if self._is_nested and caller and caller.correlation_id:
            request_id = caller.correlation_id.encode()
        elif not request_id or not VALID_ID.fullmatch(request_id):
            request_id = b"%032x" % random.getrandbits(128)  # an id, not a secret
        self._request_id = request_id
        self.context = RequestContext(request_id.decode())
        if self._is_nested and caller:
            self.context.subject = caller.subject
        others = scope["headers"]
        if boundary.header in headers:
            others = [header for header in others if header[0] != boundary.header]
        scope["headers"] = [*others, (boundary.header, request_id)]
        scope[EXCHANGE] = self

    def _note_body(self, headers: Mapping[bytes, bytes]) -> None:
        """Note whether the request has no body, or a Content-Length of too many digits."""
        content_length = headers.get(b"content-length")
        if content_length is not None:
            if len(content_length) > MAX_LENGTH_DIGITS:
                self._refusal = RequestTooLargeError
        elif ANNOUNCED in self.scope and b"transfer-encoding" not in headers:
            self.scope[NO_BODY] = True

    async def serve(self) -> None:
        """Serve the request; an exception that somebody outside waits for goes on."""
        scope = self.scope
        context = self.context
        caller = current_context.set(context)
        open_requests.count += 1
        try:
            if not self._is_nested:
                for hook in request_started:
                    hook(scope, context.correlation_id or "")
            if self._refusal:
                raise self._refusal()
            await self._boundary.app(scope, self.receive, self.send)
            if not (context.response_complete or self._is_accepted_or_left()):
                raise APIError("The application returned without a complete response.")
        except GeneratorExit:
            raise
        except BaseException as exc:
            if await self._handle_failure(exc):
                raise
        finally:
            open_requests.count -= 1
            self.failure = None
            scope.pop(EXCHANGE, None)  # else both live until the garbage collector finds the cycle
            try:
                if not context.response_complete:
                    self._log_access()
            finally:
                current_context.reset(caller)

    def _is_accepted_or_left(self) -> bool:
        """Return whether a WebSocket was accepted, or the client has left."""
        if self.context.client_disconnected:
            return True
        return self.scope["type"] == "websocket" and self.context.response_started

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
        if kind in STARTS:
            if message.get("status") == 413 and await self._replace_413(message):
                return
            message = self._with_request_id(message)
        elif kind == "websocket.close" and self._can_deny():
            await self._deny()
            return
        elif self.failure and is_last(message) and not message.get("body"):
            raise self.failure  # else a middleware would make a broken stream look complete
        try:
            await self._send(message)
        except RuntimeError as exc:
            if CLOSED_BY_CLIENT not in str(exc):
                raise
            self.context.client_disconnected = True
        self._note_sent(message)

    def _note_sent(self, message: Message) -> None:
        """Note how far the response has come, now that the server has accepted a message."""
        context = self.context
        if message["type"] in STARTS:
            context.status = message.get("status", SWITCHING_PROTOCOLS)
        elif is_last(message):
            if message["type"] == "websocket.close" and not context.status:
                context.status = 403
            context.response_complete = True
            self._log_access()

    def _with_request_id(self, message: Message) -> Message:
        """Return the start of a response with the id, if a server can send it."""
        status = message.get("status", SWITCHING_PROTOCOLS)
        headers = list(message.get("headers", ()))
        names = check_start(status, headers)
        own_name = self._boundary.header
        if own_name in names:
            headers = [header for header in headers if header[0].lower() != own_name]
        headers.append((own_name, self._request_id))
        if status == 307:
            headers = [self._within_host(header) for header in headers]
        return {**message, "headers": headers}

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

    async def _replace_413(self, message: Message) -> bool:
        """Replace a 413 that Starlette sends itself, in plain text; return whether this is one.

        Before any other 413, read the rest of the body.
        """
        found = dict(message.get("headers", ()))
        if (
            "starlette.max_body_size" in self.scope
            and found.get(b"content-length") == b"17"  # of "Content Too Large"
            and found.get(b"content-type", b"").startswith(b"text/plain")
        ):
            response = await self._respond(RequestTooLargeError())
            await self._boundary.wrap_response(response)(self.scope, self.receive, self.send)
            self._is_replaced = True
            return True
        await self._drain_body()
        return False

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

    What a middleware does with a group, such as its `repr`, Python does by recursion: one of 2**30
    members takes hours, one of 5,000 levels is a `RecursionError`.
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


def is_last(message: Message) -> bool:
    """Return whether a message completes a response, or closes a WebSocket."""
    kind = message["type"]
    return kind in ENDS or (kind in BODIES and not message.get("more_body"))


def holds_surrogates(body: bytes) -> bool:
    """Return whether a body may have JSON's escapes of half a character; most have no escape."""
    return b"\\" in body and (b"\\ud" in body or b"\\uD" in body)


def check_start(status: Any, headers: Sequence[Header]) -> tuple[bytes, ...]:
    """Refuse what a server would refuse after it has noted that the response began.

    Returns:
        The names of the headers, in lower case.

    Raises:
        InvalidResponseError: the status or a header cannot be sent.
    """
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise InvalidResponseError(f"status {status!r:.50} cannot be sent")
    try:
        names = lower_names(tuple(map(header_name, headers)))
        all_values = b"".join(map(header_value, headers))
    except TypeError:
        raise InvalidResponseError("a header is not of bytes") from None
    if INVALID_VALUE.search(all_values):
        raise InvalidResponseError("a header has a character that cannot be sent")
    if b"content-length" in names:
        for name, header in zip(names, headers, strict=True):
            if name == b"content-length" and not header_value(header).isdigit():
                raise InvalidResponseError("Content-Length is not a number")
    return names


@lru_cache(maxsize=256)
def lower_names(names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names of a response's headers in lower case; most responses have the same ones.

    Raises:
        InvalidResponseError: a name cannot be sent.
        TypeError: a name is not of bytes.
    """
    if not all(map(VALID_NAME.fullmatch, names)):
        raise InvalidResponseError("a header has a character that cannot be sent")
    return tuple(name.lower() for name in names)
