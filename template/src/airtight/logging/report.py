"""The record of a failure that reached the machine: a handler, the boundary, a task, a thread."""

import logging

from ...utils.errors import APIError
from ..context import current_context
from .duplicates import ERRORS
from .fields import as_extra, own_fields
from .redaction import describe

logger = logging.getLogger(ERRORS)


def report_exception(
    exc: BaseException, level: int = 0, message: str = "", **fields: object
) -> None:
    """Log an exception, unless it was logged for the same request before.

    Args:
        exc: the exception.
        level: of the record, which has a traceback from ERROR on; by default that of an error of
            our own, or CRITICAL.
        message: by default the text of an error of our own, which holds no secrets of others.
        fields: what the record says besides.
    """
    context = current_context.get()
    if context is not None and not context.mark_reported(exc):
        return
    if isinstance(exc, APIError):
        level = level or exc.level
        message = message or describe(exc)
    level = level or logging.CRITICAL
    message = message or "unexpected error"
    extra = {"error": type(exc).__qualname__}
    extra |= as_extra(fields) | own_fields(exc)
    traceback_of = exc if level >= logging.ERROR else None
    logger.log(level, message, exc_info=traceback_of, extra=extra)
