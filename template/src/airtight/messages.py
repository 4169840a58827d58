"""Messages: the id, a line each, and one record for each failure."""

import asyncio
import logging
import random
from collections.abc import Callable
from time import perf_counter
from typing import Any

from ..utils.errors import APIError, UnavailableError
from .boundary import VALID_ID
from .context import RequestContext, current_context
from .hooks import message_began, message_ended
from .logging.handler import report_exception


async def process_message(
    handle: Callable[..., Any], fields: dict[bytes, bytes], last: bool, **facts: Any
) -> str:
    """Handle a message that has these `fields`, and return the outcome; what fails is told once.

    Args:
        handle: takes the fields and gives the outcome; if it fails that is `retried` where it makes sense, else `dead`.
        fields: what the message holds; the id of the request that has led to it is `correlation_id`.
        last: whether this is the last attempt.
        facts: what the record of a failure and the message's own line say of it.
    """
    given = fields.get(b"correlation_id", b"")
    current_context.set(
        context := RequestContext(
            given.decode() if VALID_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        )
    )
    for begin in message_began:
        begin(fields, facts | {"correlation_id": context.correlation_id})
    began, outcome = perf_counter(), "interrupted"
    try:
        outcome = await handle(fields)
    except BaseException as exc:
        if (task := asyncio.current_task()) and task.cancelling():
            raise
        retry = (
            isinstance(exc, APIError)
            and exc.status_code == UnavailableError.status_code
            and not last
        )
        outcome, level = ("retried", logging.WARNING) if retry else ("dead", logging.ERROR)
        report_exception(exc, level if isinstance(exc, APIError) else logging.CRITICAL, **facts)
    finally:
        seconds = perf_counter() - began
        for end in message_ended:
            end(outcome, seconds)
        facts |= {"duration_ms": round(seconds * 1000, 2), "outcome": outcome}
        logging.getLogger("access").info("message", extra=facts)
    return outcome
