"""What belongs to one request or message: its correlation id, and which failures have been logged."""

import itertools
from collections import deque
from contextvars import ContextVar

_MARK = "__reported_in__"
_MARKS = 16  # an exception object that many requests raise again remembers the latest ones only
_LINKS = 100  # causes and contexts that are followed; cycles end sooner
_request_numbers = itertools.count(1)


class RequestContext:
    """The state of one request or message that log records refer to.

    It holds no exception: one that outlived its request, in the context of a task, would keep the
    frames of the request alive, and with them its body.

    Attributes:
        correlation_id: the id in the record of everything that happens for the request.
        number: tells requests apart that share a correlation id.
        client_disconnected: whether the client left before the response was complete.
    """

    __slots__ = ("client_disconnected", "correlation_id", "number")

    def __init__(self, correlation_id: str | None) -> None:
        self.correlation_id = correlation_id
        self.number = next(_request_numbers)
        self.client_disconnected = False

    def mark_reported(self, exc: BaseException) -> bool:
        """Mark an exception as logged for this request.

        Returns:
            Whether it is new: neither it nor one of its causes was logged for this request before.
        """
        is_new = not any(self._is_marked(link) for link in causes(exc))
        _marks(exc).append(self.number)
        return is_new

    def _is_marked(self, exc: BaseException) -> bool:
        return self.number in exc.__dict__.get(_MARK, ())


current_context: ContextVar[RequestContext | None] = ContextVar("request_context", default=None)


def get_correlation_id() -> str | None:
    """Return the correlation id of the current request or message; None outside of one."""
    context = current_context.get()
    return context.correlation_id if context else None


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


def _marks(exc: BaseException) -> deque[int]:
    marks: deque[int] = exc.__dict__.setdefault(_MARK, deque(maxlen=_MARKS))
    return marks
