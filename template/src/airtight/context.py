"""What belongs to one request or message: its correlation id, its progress, what was logged of it."""

import itertools
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_REPORTED = "__reported_in__"
_ORIGIN = "__request_context__"
_MARKS = 16  # an exception object that many requests raise again remembers the latest ones only
_LINKS = 100  # causes and members of groups that are followed; cycles end sooner
_NODES = 10_000  # of nested groups
_request_numbers = itertools.count(1)


class RequestContext:
    """The state of one request or message that log records refer to.

    It holds no exception: one that outlived its request, in the context of a task, would keep the
    frames of the request alive, and with them its body.

    Attributes:
        correlation_id: the id in the record of everything that happens for the request.
        number: tells requests apart that share a correlation id.
        status: the status that the server has accepted; 0 before.
        response_complete: whether the whole response was sent.
        client_disconnected: whether the client left before the response was complete.
        subject: who calls; None as long as nobody has said so.
        may_hold_surrogates: whether the body has escapes of characters that UTF-8 may not have.
    """

    __slots__ = (
        "client_disconnected",
        "correlation_id",
        "may_hold_surrogates",
        "number",
        "response_complete",
        "status",
        "subject",
    )

    def __init__(self, correlation_id: str | None) -> None:
        self.correlation_id = correlation_id
        self.number = next(_request_numbers)
        self.status = 0
        self.response_complete = False
        self.client_disconnected = False
        self.subject: str | None = None
        self.may_hold_surrogates = False

    @property
    def response_started(self) -> bool:
        """Whether the server has accepted a status, or the handshake of a WebSocket."""
        return self.status != 0

    def mark_reported(self, exc: BaseException) -> bool:
        """Mark an exception as logged for this request.

        Returns:
            Whether it is new: neither it nor one of its causes was logged for this request before.
        """
        leaves = members(exc)
        is_new = any(self._is_new(leaf) for leaf in leaves) and not self._is_marked(exc)
        for error in [exc, *leaves]:
            _marks(error).append(self.number)
        return is_new

    def _is_new(self, exc: BaseException) -> bool:
        return not any(self._is_marked(link) for link in causes(exc))

    def _is_marked(self, exc: BaseException) -> bool:
        return self.number in exc.__dict__.get(_REPORTED, ())


current_context: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def get_correlation_id() -> str | None:
    """Return the correlation id of the current request or message; None outside of one."""
    context = current_context.get()
    return context.correlation_id if context else None


def get_subject() -> str | None:
    """Return who calls, as `set_subject` has noted it; None outside of a request."""
    context = current_context.get()
    return context.subject if context else None


def set_subject(subject: str) -> None:
    """Have each record of the current request, from now on, name who calls.

    Args:
        subject: what identifies the caller; never a password, a key or a token.
    """
    context = current_context.get()
    if context:
        context.subject = subject


def is_reported(exc: BaseException) -> bool:
    """Return whether an exception was logged for any request."""
    return any(_REPORTED in link.__dict__ for link in causes(exc))


def causes(exc: BaseException) -> list[BaseException]:
    """Return an exception and its causes, outermost first; a cycle of causes is followed once."""
    chain: list[BaseException] = []
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen and len(chain) < _LINKS:
        chain.append(link)
        seen.add(id(link))
        link = link.__cause__
    return chain


def members(exc: BaseException) -> list[BaseException]:
    """Return the exceptions in a group and in groups within it; of any other, itself alone."""
    found: list[BaseException] = []
    seen: set[int] = set()
    pending = [exc]
    while pending and len(seen) < _NODES and len(found) < _LINKS:
        error = pending.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        if isinstance(error, BaseExceptionGroup):
            pending.extend(reversed(error.exceptions[:_LINKS]))
        else:
            found.append(error)
    return found or [exc]


def is_oversized(group: BaseException) -> bool:
    """Return whether a group has more members and levels than anybody reads."""
    count = 0
    pending = [group]
    while pending and count <= _LINKS:
        error = pending.pop()
        count += 1
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions[:_LINKS])
    return count > _LINKS


def with_origin(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose exceptions remember the request for which it was called.

    What runs in a thread fails outside the context of the request; its record needs the id.
    """
    context = current_context.get()

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except BaseException as exc:
            exc.__dict__.setdefault(_ORIGIN, context)
            raise

    return call


def origin(exc: BaseException) -> RequestContext | None:
    """Return the context of the request for which an exception was raised, where it is known."""
    context: RequestContext | None = exc.__dict__.get(_ORIGIN) or current_context.get()
    return context


def _marks(exc: BaseException) -> deque[int]:
    marks: deque[int] = exc.__dict__.setdefault(_REPORTED, deque(maxlen=_MARKS))
    return marks
