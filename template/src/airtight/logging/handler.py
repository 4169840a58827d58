"""One form for every record, and one record for every failure, whoever logs it."""

import json
import logging
import os
import re
import sys
import threading
import time
from datetime import UTC, datetime
from itertools import islice
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import orjson

from src.airtight.context import current_context, is_reported
from src.airtight.hooks import context_fields, failure_logged, request_ended
from src.airtight.logging.ecs import to_ecs
from src.airtight.tracebacks import format_exception
from src.utils.errors import APIError

SECRET = re.compile(
    r"passw|passphrase|pwd|secret|token|api_?-?key|private_?-?key|authorization|cookie|credential",
    re.I,
)
SECRET_PAIR = re.compile(
    rf"""({SECRET.pattern})([\w.-]*["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|[^\s,;&}}]+)""", re.I
)
URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)\S+(?=@)")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
COLORS = {"DEBUG": 36, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}
ECHO = re.compile(
    r"Traceback |Application \w+ failed|ASGI callable returned without completing handshake"
    r"|%s - .WebS|Cancel %s running task"
)
errors, access = logging.getLogger("errors"), logging.getLogger("access")


def once(record: logging.LogRecord) -> bool:
    """Tell whether a record is news: a filter that keeps server and libraries from telling a failure again."""
    exc, context = record.exc_info and record.exc_info[1], current_context.get()
    if record.name == "uvicorn.error" and ECHO.match(str(record.msg)):
        return False
    if record.name == "uvicorn.error" and exc and is_reported(exc):
        return False
    return not exc or context is None or record.name == errors.name or context.mark_reported(exc)


def report_exception(
    exc: BaseException, level: int = 0, message: str = "", **fields: object
) -> None:
    """Log a failure once: with its facts, from ERROR on with its traceback, CRITICAL if it is no own error."""
    context, own = current_context.get(), exc if isinstance(exc, APIError) else None
    if context is None or context.mark_reported(exc):
        level = level or (own.level if own else logging.CRITICAL)
        fields = {"error": type(exc).__qualname__} | fields | (own.fields if own else {})
        extra = {f"{name}_" if name in STANDARD else name: value for name, value in fields.items()}
        message = message or (str(own) if own else "unexpected error")
        errors.log(level, message, exc_info=exc if level >= logging.ERROR else None, extra=extra)


def redact(value: Any, limit: int = 2_000, depth: int = 6) -> Any:
    """Return a value without what is secret by name or in a URL, cut to a size that someone would read."""
    if isinstance(value, str):
        value = value if len(value) <= limit else f"{value[:limit]}… ({len(value) - limit} more)"
        return URL_PASSWORD.sub(r"\1***", value) if "://" in value else value
    if isinstance(value, dict) and depth:
        items = ((str(name)[:100], item) for name, item in islice(value.items(), 50))
        return {
            name: "***" if SECRET.search(name) else redact(item, limit, depth - 1)
            for name, item in items
        }
    if isinstance(value, list | tuple | set) and depth:
        return [redact(item, limit, depth - 1) for item in islice(value, 50)]
    return (
        value
        if value is None or isinstance(value, bool | int | float)
        else redact(str(value), limit)
    )


def to_json(value: Any) -> bytes:
    """Return a value as JSON, whatever it holds."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # a lone surrogate or a huge number
        return json.dumps(value, default=repr).encode()


def base_fields(name: str, level: str, message: str, created: float) -> dict[str, Any]:
    """Return the fields that every record begins with; `created` is in seconds since the epoch."""
    context, moment = (
        current_context.get(),
        datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
    )
    head: dict[str, Any] = {
        "timestamp": f"{moment[:23]}Z",
        "level": level,
        "logger": name,
        "message": message,
    }
    head["correlation_id"] = context.correlation_id if context else None
    for give in context_fields:
        head |= give()
    return head


class LineHandler(logging.Handler):
    """Writes each record to stdout, and to a file if there is one; tells once, on stderr, if it cannot."""

    def __init__(self, form: str, service: str, file: Path | None) -> None:
        super().__init__()
        self.form, self._service, self._broken = form, service, False
        self._file = file and RotatingFileHandler(
            file, maxBytes=10_000_000, backupCount=5, encoding="utf-8"
        )
        self._color = sys.stdout.isatty() and "NO_COLOR" not in os.environ and not file
        self.addFilter(once)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            extra = {name: value for name, value in vars(record).items() if name not in STANDARD}
            head = base_fields(
                record.name, record.levelname, redact(record.getMessage()), record.created
            )
            fields = {**head, **redact(extra), **head}
            if record.exc_info and record.exc_info[1]:
                fields["exception"] = redact(format_exception(record.exc_info[1]).rstrip(), 16_000)
            self.write(fields, record)
            if record.name == errors.name or record.levelno >= logging.ERROR:
                for hook in failure_logged:
                    hook(record, fields)
        except Exception as exc:  # noqa: BLE001 - logging must not break what it tells of
            self._complain(exc)

    def write(self, fields: dict[str, Any], record: logging.LogRecord | None = None) -> None:
        """Write a line, past the buffers of `print` in which it could be lost."""
        if self.form == "console":
            line = self._console(fields)
        else:
            line = (
                to_json(to_ecs(fields, self._service, record) if self.form == "ecs" else fields)
                + b"\n"
            )
        try:
            if self._file:
                self._file.handle(logging.makeLogRecord({"msg": line.decode().rstrip("\n")}))
            while line:
                line = line[os.write(1, line) :]
            self._broken = False
        except OSError as exc:
            self._complain(exc)

    def _complain(self, exc: Exception) -> None:
        if not self._broken and sys.stderr:
            sys.stderr.write(f"logging failed, records are lost: {exc!r}\n")
        self._broken = True

    def _console(self, fields: dict[str, Any]) -> bytes:
        trace, level, rest = fields.get("exception", ""), fields["level"], list(fields.items())[4:]
        facts = "".join(
            f" {name}={value}" for name, value in rest if value is not None and name != "exception"
        )
        text = CONTROL.sub(
            lambda found: repr(found[0])[1:-1], f"{fields['logger']}: {fields['message']}{facts}"
        )
        head = f"\x1b[{COLORS.get(level, 0)}m{level:8}\x1b[0m" if self._color else f"{level:8}"
        block = "".join(f"\n    {line}" for line in trace.splitlines())
        return f"{fields['timestamp'][11:23]} {head} {text}{block}\n".encode(
            errors="backslashreplace"
        )


def request_fields(scope: Any) -> dict[str, Any]:
    """Return where a request went: method, path, and the template of the path that was matched."""
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    path: str | None = getattr(route, "path", None)  # without the prefix of a mount
    mount = (
        scope["root_path"].removeprefix(scope["app_root_path"]) if "app_root_path" in scope else ""
    )
    place = {"method": scope.get("method", "WEBSOCKET"), "path": scope["path"][:500]}
    return place | {"route": path if path in (None, mount) else f"{mount}{path}"}


def log_access(scope: Any, status: int, began: float) -> None:
    """Write the line of a request, past `logging` where nobody but our handler listens."""
    place, client, seconds = request_fields(scope), scope.get("client"), time.perf_counter() - began
    fields = {
        **place,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "client": client and client[0],
    }
    for hook in request_ended:
        hook(place["method"], place["route"], status, seconds)
    handler = (
        logging.root.handlers[0]
        if len(logging.root.handlers) == 1 and not access.handlers
        else None
    )
    if not isinstance(handler, LineHandler) or handler.form == "console":
        access.info("request", extra=fields)
    elif access.isEnabledFor(logging.INFO):
        handler.write(base_fields("access", "INFO", "request", time.time()) | fields)


def configure_logging(level: str, form: str, service: str = "", file: Path | None = None) -> None:
    """Send all records to stdout, as `json`, `ecs` or for a `console`, however the service is started."""
    root = logging.root
    root.handlers = [
        h for h in root.handlers if type(h) not in (LineHandler, logging.StreamHandler)
    ]
    root.addHandler(LineHandler(form, service, file))
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"  # the guard writes those
    logging.captureWarnings(True)
    sys.excepthook = lambda _, exc, __: report_exception(exc, message="uncaught exception")
    threading.excepthook = lambda args: report_exception(
        args.exc_value or args.exc_type(), message="a thread died"
    )
