"""Records in the form that Elastic knows: its Common Schema, version 8.11."""

import json
import logging
import os
import threading
from typing import Any

NAMES = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "message": "message",
    "logger": "log.logger",
}
# copier: if "opentelemetry" in observability
NAMES |= {"trace_id": "trace.id", "span_id": "span.id"}
# copier: endif
NAMES |= {"error": "error.type", "exception": "error.stack_trace"}
REQUEST = NAMES | {
    "method": "http.request.method",
    "path": "url.path",
    "status": "http.response.status_code",
}
REQUEST |= {"client": "client.address", "duration_ms": "event.duration"}


def to_ecs(
    fields: dict[str, Any], service: str, record: logging.LogRecord | None = None
) -> dict[str, Any]:
    """Return the fields of a record by the schema's names; what it has no name for is a label, which is a text."""
    names = REQUEST if "route" in fields and fields["logger"] in ("access", "errors") else NAMES
    labels: dict[str, str] = {}
    ecs: dict[str, Any] = {
        "@timestamp": "",
        "log.level": "",
        "message": "",
        "labels": labels,
    }  # in this order
    for own, fact in fields.items():
        if own in names and isinstance(fact, (str, int, float)):
            ecs[names[own]] = fact
        elif fact is not None:
            labels[own] = fact if isinstance(fact, str) else json.dumps(fact)
    ecs |= {"ecs.version": "8.11.0", "service.name": service, "process.pid": os.getpid()}
    ecs["process.thread.name"] = threading.current_thread().name
    if "event.duration" in ecs:
        ecs["event.duration"] = round(ecs["event.duration"] * 1_000_000)  # in ns
    if record:
        ecs |= {"log.origin.file.name": record.filename, "log.origin.file.line": record.lineno}
        ecs["log.origin.function"] = record.funcName
    if exc := record and record.exc_info and record.exc_info[1]:
        ecs["error.type"] = kind = type(exc).__qualname__
        _, colon, text = (
            ecs["error.stack_trace"].partition("\n  -- of which --")[0].rpartition(f"{kind}:")
        )
        ecs["error.message"] = text.strip() if colon else ""
    return ecs
