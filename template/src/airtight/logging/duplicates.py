"""Drops records of failures that are logged already."""

import logging
import re

from ..context import current_context, is_reported
from .fields import exception_of

ERRORS = "errors"  # the logger of `report_exception`, which decides by itself
SERVER = "uvicorn.error"
# uvicorn's own words for what the error boundary has logged.
SERVER_DUPLICATES = re.compile(
    r"Traceback |Application \w+ failed|ASGI callable returned without completing (handshake|response)"
    r"|%s - .WebS|Cancel %s running task"
)
# FastAPI logs this before it raises an exception with the same text.
FRAMEWORK = "fastapi"
FRAMEWORK_DUPLICATES = re.compile(r"Form data requires ")


class DuplicateFilter(logging.Filter):
    """Refuses records of an exception that was logged before, for the same request.

    It belongs on a handler: a filter of a logger does not see the records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is new."""
        exc = exception_of(record)
        if record.name == FRAMEWORK and FRAMEWORK_DUPLICATES.match(str(record.msg)):
            return False
        if record.name == SERVER:
            if SERVER_DUPLICATES.match(str(record.msg)):
                return False
            if exc is not None and is_reported(exc):
                return False
        context = current_context.get()
        if exc is None or context is None or record.name == ERRORS:
            return True
        return context.mark_reported(exc)
