"""Records by the names of the Elastic Common Schema, version 8.11."""

import json
import logging
import os
import threading
from typing import Any

from ..context import get_subject
from .fields import exception_of

VERSION = "8.11.0"
NAMES = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "message": "message",
    "logger": "log.logger",
    "error": "error.type",
    "exception": "error.stack_trace",
}
# copier: if "opentelemetry" in observability
NAMES |= {"trace_id": "trace.id", "span_id": "span.id"}
# copier: endif
REQUEST_NAMES = NAMES | {
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
    "client": "client.address",
    "duration_ms": "event.duration",
}
OF_REQUESTS = ("access", "errors")  # the loggers whose `status` is one of HTTP
NEXT_MEMBER = "\n  -- of which --"  # starts the traceback of a member of a group

Fields = dict[str, Any]


def to_ecs(fields: Fields, service_name: str, record: logging.LogRecord | None = None) -> Fields:
    """Return fields by the names of the schema; those that it does not know become labels.

    Args:
        fields: of a record.
        service_name: the name of the service.
        record: says where it was logged; None for an access line.
    """
    labels: dict[str, str] = {}
    # The schema wants these first, and in this order.
    ecs: Fields = {"@timestamp": "", "log.level": "", "message": "", "labels": labels}
    is_request = "route" in fields and fields["logger"] in OF_REQUESTS
    names = REQUEST_NAMES if is_request else NAMES
    if get_subject() is not None:  # else it is a field that an author has called so
        names = names | {"subject": "user.id"}
    for name, value in fields.items():
        if name in names and isinstance(value, str | int | float):
            ecs[names[name]] = value
        elif value is not None:
            labels[name] = value if isinstance(value, str) else json.dumps(value)
    if "event.duration" in ecs:
        ecs["event.duration"] = round(ecs["event.duration"] * 1_000_000)  # nanoseconds
    ecs["ecs.version"] = VERSION
    ecs["service.name"] = service_name
    ecs["process.pid"] = os.getpid()
    ecs["process.thread.name"] = threading.current_thread().name
    if record is not None:
        ecs |= _origin_fields(record)
        ecs |= _error_fields(record, ecs)
    return ecs


def _origin_fields(record: logging.LogRecord) -> Fields:
    return {
        "log.origin.file.name": record.filename,
        "log.origin.file.line": record.lineno,
        "log.origin.function": record.funcName,
    }


def _error_fields(record: logging.LogRecord, ecs: Fields) -> Fields:
    """Return class and message of an exception; the message as its traceback shows it."""
    exc = exception_of(record)
    if exc is None:
        return {}
    class_name = type(exc).__qualname__
    own = ecs.get("error.stack_trace", "").partition(NEXT_MEMBER)[0]
    _, colon, message = own.rpartition(f"{class_name}:")
    if not colon:
        message = ""
    return {"error.type": class_name, "error.message": message.strip()}
