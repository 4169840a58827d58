"""Logging: one line for each record, one record for each failure, no secret in either.

`configuration` puts `handler` on the root logger. A record passes `duplicates`, becomes `fields`
without secrets (`redaction`), is cut to what its place keeps whole (`truncation`), takes a form
(`formatters`, `ecs`) and is written without waiting (`writer`, `stdout`, `log_file`).
"""

from .access import log_access
from .configuration import (
    configure_logging,
    dropped_records,
    flush,
    restore_exception_hooks,
    restore_logging,
)
from .fields import request_fields
from .formatters import to_json
from .redaction import redact, redact_text
from .report import report_exception

__all__ = [
    "configure_logging",
    "dropped_records",
    "flush",
    "log_access",
    "redact",
    "redact_text",
    "report_exception",
    "request_fields",
    "restore_exception_hooks",
    "restore_logging",
    "to_json",
]
