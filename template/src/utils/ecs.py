"""Records in the form that Elastic knows: its Common Schema, version 8.11."""

import json
import logging
import os
import threading
from typing import Any

NAMES = {"timestamp": "@timestamp", "level": "log.level", "message": "message", "logger": "log.logger"}
# copier: if "opentelemetry" in observability
NAMES |= {"trace_id": "trace.id", "span_id": "span.id"}
# copier: endif
NAMES |= {"error": "error.type", "exception": "error.stack_trace"}
REQUEST = NAMES | {"method": "http.request.method", "path": "url.path", "status": "http.response.status_code"}
REQUEST |= {"body": "http.request.body.content", "client": "client.address", "duration_ms": "event.duration"}


def to_ecs(fields: dict[str, Any], service: str, record: logging.LogRecord | None = None) -> dict[str, Any]:
    """Return the fields of a record by the schema's names; what it has no name for is a label, which is a text."""
    names = REQUEST if "route" in fields else NAMES
    ecs = {name: fields[own] for own, name in names.items() if fields.get(own) is not None}
    others = {own: fact for own, fact in fields.items() if own not in names and fact is not None}
    ecs["labels"] = {own: fact if isinstance(fact, str) else json.dumps(fact) for own, fact in others.items()}
    ecs |= {"ecs.version": "8.11.0", "service.name": service, "process.pid": os.getpid()}
    ecs["process.thread.name"] = threading.current_thread().name
    if "event.duration" in ecs:
        ecs["event.duration"] = round(ecs["event.duration"] * 1_000_000)  # in ns
    if trace := fields.get("exception"):
        ecs["error.message"] = trace.rpartition("\n")[2]
    if record:
        ecs |= {"log.origin.file.name": record.filename, "log.origin.file.line": record.lineno}
        ecs["log.origin.function"] = record.funcName
    return ecs
