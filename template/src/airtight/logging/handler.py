"""The handler that all records pass: it makes lines of them, and has failures counted and sent."""

import logging
from collections.abc import Sequence
from typing import Any

from ...utils.errors import APIError
from ..hooks import failure_logged
from .complaints import complain
from .duplicates import ERRORS, DuplicateFilter
from .fields import base_fields, exception_of, record_fields
from .formatters import FormatLine
from .redaction import describe, redact_text
from .truncation import fit
from .writer import LineWriter

SHUTDOWN_TIMEOUT = 2.0  # seconds

Fields = dict[str, Any]


class LogHandler(logging.Handler):
    """Writes each record as a line.

    Args:
        log_format: `json`, `ecs` or `console`.
        format_line: makes a line of fields.
        writers: write the line to its places.
    """

    def __init__(
        self, log_format: str, format_line: FormatLine, writers: Sequence[LineWriter]
    ) -> None:
        super().__init__()
        self.log_format = log_format
        self._format_line = format_line
        self.writers = writers
        self.addFilter(DuplicateFilter())

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Have no lock: each writer has one, for as long as it writes."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write a record that passes the filters; Python 3.14's own method would need a lock."""
        passed: logging.LogRecord | bool = self.filter(record)
        if isinstance(passed, logging.LogRecord):
            record = passed  # from Python 3.12 on a filter can replace it
        if passed:
            self.emit(record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; whatever is wrong with it, it is neither lost nor does it raise."""
        try:
            fields = record_fields(record)
        except Exception as exc:  # noqa: BLE001 - what logs must not break
            fields = _fields_of_last_resort(record, exc)
        self.write(fields, record)
        if is_failure(record):
            _call_hooks(record, fields)

    def write(self, fields: Fields, record: logging.LogRecord | None = None) -> None:
        """Write fields as a line; one that is too long for its place is cut."""
        try:
            line = self._format_line(fields, record)
            for writer in self.writers:
                limit = writer.target.max_line
                if len(line) <= limit:
                    writer.write(line)
                else:
                    writer.write(fit(fields, limit, lambda cut: self._format_line(cut, record)))
        except Exception as exc:  # noqa: BLE001 - what logs must not break
            complain(f"a record is lost: {type(exc).__qualname__}")

    def flush(self) -> None:
        """Write what is buffered; `logging` calls this when the interpreter exits."""
        self.flush_within(SHUTDOWN_TIMEOUT)

    def flush_within(self, timeout: float) -> bool:
        """Write what is buffered, and return whether all was written within some seconds."""
        results = [writer.flush(timeout) for writer in self.writers]
        return all(results)

    def close(self) -> None:
        """Close what records are written to."""
        for writer in self.writers:
            writer.close()
        super().close()


def is_failure(record: logging.LogRecord) -> bool:
    """Return whether a record counts as a failure."""
    if record.levelno >= logging.ERROR or record.name == ERRORS:
        return True
    return isinstance(exception_of(record), APIError)


def _fields_of_last_resort(record: logging.LogRecord, exc: Exception) -> Fields:
    """Return what can be said of a record that broke what should describe it."""
    fields = base_fields(record.name, record.levelname, describe(record.msg)[:500], record.created)
    return fields | {"format_error": redact_text(f"{type(exc).__qualname__}: {describe(exc)}")}


def _call_hooks(record: logging.LogRecord, fields: Fields) -> None:
    for hook in failure_logged:
        try:
            hook(record, fields)
        except Exception as exc:  # noqa: BLE001 - one that observes must not break the others
            complain(f"an observer of failures raised {type(exc).__qualname__}")
