"""uvicorn's HTTP protocol, with limits to the memory, connections and time that clients take.

uvicorn's parser, httptools, accepts headers without end and pipelined requests without number, and
waits for the rest of a request for ever. Its other one, h11, limits the first two, and takes 100
microseconds more for each request. What is added here costs nothing on balance: one timer for all
connections replaces uvicorn's timer for each response.
"""

import asyncio
import itertools
import logging
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ..utils.errors import (
    APIError,
    HeadersTooLargeError,
    InvalidHTTPError,
    OverloadedError,
    RequestTimeoutError,
)
from .body_limit import ANNOUNCED
from .boundary import MAX_LENGTH_DIGITS, REFUSAL

MAX_HEADER_BYTES = 32_768  # of a request line and all headers
MAX_HEADERS = 100
MAX_PIPELINED = 16  # requests that wait for the response to one before them
SLICE = 4_096  # bytes that are parsed before the limits are checked again
MIN_BODY_RATE = 5_000  # bytes a second
MAX_STALLED_SECONDS = 30.0  # in which a client reads nothing of a response
TICK = 1.0  # seconds between two looks at all connections
# Of the process, besides connections: the pools of clients, files, pipes, the event loop.
RESERVED_DESCRIPTORS = 150
PROBES = b"/health/"  # what restarts a service must not take it for dead because it is busy

logger = logging.getLogger("server")
_numbers = itertools.count()


@dataclass(frozen=True)
class Limits:
    """What clients may take of a worker.

    Attributes:
        connections: that are open at a time.
        header_timeout: seconds, for the headers of a request.
        body_timeout: seconds, for a body, or between two parts of it; a body has one second more
            for each `MIN_BODY_RATE` bytes.
    """

    connections: int = 200
    header_timeout: float = 10.0
    body_timeout: float = 20.0


class HoldingFlowControl(FlowControl):
    """Flow control that can hold back what a client sends, whatever else wants to read."""

    is_holding = False

    async def drain(self) -> None:
        """Wait until the client reads; if the wait is cancelled, give the client up.

        A server that stops cancels its requests. What would be sent about that waits as well.
        """
        try:
            await super().drain()
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def hold(self) -> None:
        """Read nothing until `release`."""
        self.is_holding = True
        self.pause_reading()

    def release(self) -> None:
        """Read again."""
        self.is_holding = False
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read again, unless the connection is held."""
        if not self.is_holding:
            super().resume_reading()


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection of a client.

    What is refused is answered by the application, in the form of its other errors: the error
    boundary raises an exception of the class that it finds in the scope.

    Args:
        limits: what the client may take.
        options: of uvicorn.
    """

    flow: HoldingFlowControl
    scope: Any  # a TypedDict of uvicorn's, without the keys of others

    def __init__(self, *, limits: Limits = Limits(), **options: Any) -> None:
        super().__init__(**options)
        self.limits = limits
        self.limit_concurrency = None  # uvicorn's own answer would have no correlation id
        self.waiting_since = next(_numbers)
        self._supervisor = _supervisor_of(self.server_state)
        self._is_surplus = False
        self._is_refused = False
        self._is_in_headers = False
        self._held = b""
        self._header_bytes = 0
        self._body_bytes = 0
        self._body_bytes_before = 0
        self._seconds_in_headers = 0.0
        self._seconds_in_body = 0.0
        self._seconds_without_progress = 0.0
        self._seconds_stalled = 0.0
        self._seconds_idle = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether no request has arrived that is not answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_receiving_body(self) -> bool:
        """Whether a part of a body is missing."""
        return not self.is_waiting and self.cycle.more_body

    @property
    def is_refused(self) -> bool:
        """Whether nothing more is read from this connection."""
        return self._is_refused

    def connection_made(self, transport: Any) -> None:
        """Make room for a connection if there are too many."""
        super().connection_made(transport)
        self.flow = HoldingFlowControl(transport)
        self._supervisor.start(self.loop)
        if len(self.connections) > self.limits.connections:
            self._is_surplus = not self._supervisor.make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was held back."""
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what a client has sent, unless too many of its requests wait already."""
        if self._is_refused:
            return
        if self._held:
            self._held += data
        elif len(data) <= SLICE and not self.pipeline:
            self._parse(data)
        else:
            self._parse_slices(data)

    def _parse_slices(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            if len(self.pipeline) >= MAX_PIPELINED:
                self._held = data[start:]
                self.flow.hold()
                return
            end = start + max(SLICE, self._missing_of_body())
            self._parse(data[start:end])
            start = end
            if self._is_refused or self.transport.get_protocol() is not self:
                return

    def _missing_of_body(self) -> int:
        """Return how many bytes can only be a body, by its `Content-Length`."""
        if not self.is_receiving_body:
            return 0
        for name, value in self.headers:
            if name == b"content-length" and len(value) < MAX_LENGTH_DIGITS:
                return int(value) - self._body_bytes
        return 0

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self._refuse(InvalidHTTPError)
        if self._is_in_headers and not self._is_refused:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(HeadersTooLargeError)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self.scope[ANNOUNCED] = True
        self.waiting_since = next(_numbers)
        self._is_in_headers = True
        self._header_bytes = 0
        self._seconds_in_headers = 0.0

    def on_headers_complete(self) -> None:
        """Start the request, or refuse it."""
        self._is_in_headers = False
        if len(self.headers) > MAX_HEADERS:
            self.scope[REFUSAL] = HeadersTooLargeError
        elif self._is_surplus and not self.url.startswith(PROBES):
            self.scope[REFUSAL] = OverloadedError
        self._body_bytes = 0
        self._body_bytes_before = 0
        self._seconds_in_body = 0.0
        self._seconds_without_progress = 0.0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count what has arrived of a body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with the next request, and with what was held back.

        uvicorn starts a timer besides, for each response; here `check` closes idle connections.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._seconds_idle = 0.0
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        if not self._held:
            return
        held = self._held
        self._held = b""
        self._parse_slices(held)
        if not self._held:
            self.flow.release()

    def check(self, seconds: float) -> None:
        """End what the client makes the service wait for.

        Args:
            seconds: since the last check.
        """
        if self.transport.is_closing() or self._is_refused:
            return
        if self.flow.write_paused:
            self._check_response(seconds)
        elif self._held:
            return  # the rest of a request is here, and waits for those before it
        elif self.is_receiving_body:
            self._check_body(seconds)
        elif self._is_in_headers or self.cycle is None:
            self._check_headers(seconds)
        elif self.cycle.response_complete:
            self._check_idle(seconds)

    def _check_idle(self, seconds: float) -> None:
        if self._body_bytes != self._body_bytes_before:
            # The client still sends the body of a request that was answered without it.
            self._body_bytes_before = self._body_bytes
            self._seconds_idle = 0.0
            return
        self._seconds_idle += seconds
        if self._seconds_idle > self.timeout_keep_alive:
            self.transport.close()

    def _check_headers(self, seconds: float) -> None:
        self._seconds_in_headers += seconds
        if self._seconds_in_headers <= self.limits.header_timeout:
            return  # a connection is looked at before its first second is over
        if self._is_in_headers:
            self._refuse(RequestTimeoutError)
        else:
            self.transport.close()

    def _check_body(self, seconds: float) -> None:
        if self.flow.read_paused:
            return  # the application is slow, not the client
        self._seconds_in_body += seconds
        self._seconds_without_progress += seconds
        if self._body_bytes != self._body_bytes_before:
            self._body_bytes_before = self._body_bytes
            self._seconds_without_progress = 0.0
        limit = self.limits.body_timeout
        allowed = limit + self._body_bytes / MIN_BODY_RATE
        if self._seconds_without_progress > limit or self._seconds_in_body > allowed:
            self._refuse(RequestTimeoutError)

    def _check_response(self, seconds: float) -> None:
        self._seconds_stalled += seconds
        if self._seconds_stalled > MAX_STALLED_SECONDS:
            self.transport.abort()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        self._seconds_stalled = 0.0
        super().resume_writing()

    def close_for_another(self) -> None:
        """End a connection that waits for its client, so that another one has room."""
        if self.is_waiting:
            self.transport.close()
        else:
            self._refuse(RequestTimeoutError)

    def _refuse(self, error: type[APIError]) -> None:
        """Have the application answer with an error, and read nothing more."""
        self._is_refused = True
        if self.is_receiving_body:
            scope: Any = self.cycle.scope
            scope[REFUSAL] = error
            self.cycle.message_event.set()
        else:
            self._start_refused_request(error)
        self.cycle.keep_alive = False

    def _start_refused_request(self, error: type[APIError]) -> None:
        if self.scope is None:
            self.on_message_begin()
        self.scope[REFUSAL] = error
        self._is_in_headers = False
        self.url = _readable_url(self.url)
        super().on_headers_complete()
        self.cycle.more_body = False


class Supervisor:
    """Looks at all connections of a worker once a second, which costs requests nothing.

    Args:
        connections: those of uvicorn, WebSockets included.
    """

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False
        self._last_tick = 0
        self._tick_before = 0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the connections from now on, for as long as there are any."""
        if self._timer is None:
            self._timer = loop.call_later(TICK, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._is_full = False
        self._tick_before = self._last_tick
        self._last_tick = next(_numbers)
        for connection in self._limited():
            connection.check(TICK)
        if self._connections:
            self.start(loop)

    def make_room(self, newest: LimitedHttpProtocol) -> bool:
        """Close the connection that has waited for its client for longest.

        The request of one that was opened a moment ago may have arrived, so it is the last choice.

        Returns:
            Whether there was one; else all are busy.
        """
        if not self._is_full:
            self._is_full = True
            count = len(self._connections)
            logger.warning("connection limit reached", extra={"connections": count})
        others = [
            connection
            for connection in self._limited()
            if connection is not newest
            and not connection.is_refused
            and not connection.transport.is_closing()
        ]
        waiting = [connection for connection in others if connection.is_waiting]
        choices = (
            [connection for connection in waiting if connection.waiting_since < self._tick_before],
            [connection for connection in others if connection.is_receiving_body],
            waiting,
        )
        for candidates in choices:
            if candidates:
                oldest = min(candidates, key=lambda connection: connection.waiting_since)
                oldest.close_for_another()
                return True
        return False

    def _limited(self) -> list[LimitedHttpProtocol]:
        return [
            connection
            for connection in self._connections
            if isinstance(connection, LimitedHttpProtocol)
        ]


_supervisors: WeakKeyDictionary[ServerState, Supervisor] = WeakKeyDictionary()


def _supervisor_of(state: ServerState) -> Supervisor:
    supervisor = _supervisors.get(state)
    if supervisor is None:
        supervisor = Supervisor(state.connections)
        _supervisors[state] = supervisor
    return supervisor


def _readable_url(url: bytes) -> bytes:
    """Return a URL that uvicorn can read: this one, or the root."""
    try:
        if httptools.parse_url(url).path and url.isascii():
            return url
    except httptools.HttpParserError:
        pass
    return b"/"


def limited_http(limits: Limits) -> Any:
    """Return what uvicorn's option `http` takes, with as many connections as the system allows.

    At the limit of open files the system resets clients, of which no log says anything.
    """
    descriptors = _count_descriptors()
    connections = min(limits.connections, max(1, descriptors - RESERVED_DESCRIPTORS))
    if connections < limits.connections:
        logger.warning(
            "the limit of open files (ulimit -n) allows fewer connections than LIMIT_CONCURRENCY",
            extra={"open_files": descriptors, "connections": connections},
        )
    return partial(LimitedHttpProtocol, limits=replace(limits, connections=connections))


def _count_descriptors() -> int:
    """Return how many files the process may open, after it has asked for as many as possible."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource  # noqa: PLC0415 - Windows has none

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
