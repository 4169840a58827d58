"""The boundary around a message, as `boundary.py` is around a request."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ..utils.errors import APIError, UnavailableError
from .boundary import VALID_ID
from .context import RequestContext, current_context
from .hooks import message_finished, message_started
from .logging import report_exception

Fields = dict[bytes, bytes]
access = logging.getLogger("access")


@dataclass(frozen=True)
class MessageResult:
    """What has become of a message.

    Attributes:
        outcome: what its handler has returned, or `retried`, `dead` or `interrupted`.
        error: the name of the error, if it failed.
    """

    outcome: str
    error: str | None = None


async def process_message(
    fields: Fields,
    handle: Callable[[], Awaitable[str]],
    may_retry: Callable[[], Awaitable[bool]],
    **facts: Any,
) -> MessageResult:
    """Handle a message under the id of the request that has led to it, and log a failure once.

    Args:
        fields: of the message; `correlation_id` is the id of the request.
        handle: does what the message asks for, and returns the outcome.
        may_retry: says, after a failure that may pass, whether there will be another attempt.
        facts: fields of the message's own record, and of the record of its failure.
    """
    context = RequestContext(_correlation_id(fields))
    current_context.set(context)
    for on_start in message_started:
        on_start(fields, facts | {"correlation_id": context.correlation_id})
    started = perf_counter()
    result = MessageResult("interrupted")
    try:
        result = MessageResult(await handle())
    except BaseException as exc:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        result = await _report_failure(exc, may_retry, facts)
        if isinstance(exc, KeyboardInterrupt | SystemExit):
            raise
    finally:
        seconds = perf_counter() - started
        for on_end in message_finished:
            on_end(result.outcome, seconds)
        duration_ms = round(seconds * 1000, 2)
        extra = facts | {"duration_ms": duration_ms, "outcome": result.outcome}
        access.info("message", extra=extra)
    return result


async def _report_failure(
    exc: BaseException, may_retry: Callable[[], Awaitable[bool]], facts: Mapping[str, Any]
) -> MessageResult:
    outcome = "dead"
    level = logging.CRITICAL
    if isinstance(exc, APIError):
        level = logging.ERROR
        may_pass = exc.status_code == UnavailableError.status_code
        if may_pass and await may_retry():
            outcome = "retried"
            level = logging.WARNING
    report_exception(exc, level, **facts)
    return MessageResult(outcome, type(exc).__name__)


def _correlation_id(fields: Fields) -> str:
    received = fields.get(b"correlation_id", b"")
    if VALID_ID.fullmatch(received):
        return received.decode()
    return f"{random.getrandbits(128):032x}"  # an id, not a secret
