"""The forms of a line: JSON for machines, a text for people, and the names that Elastic knows."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import orjson

from .ecs import to_ecs

# What could move the cursor, or reorder what is shown.
CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
COLORS = {"DEBUG": 36, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}
SHOWN_APART = ("timestamp", "level", "logger", "message", "exception")

Fields = dict[str, Any]
FormatLine = Callable[[Fields, logging.LogRecord | None], bytes]


def to_json(value: Any) -> bytes:
    """Return a value as JSON, whatever it holds."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # a lone surrogate or a huge number
        plain = json.loads(json.dumps(value, default=repr), parse_constant=lambda _: None)
        return json.dumps(plain).encode()


def build_formatter(log_format: str, service_name: str, color: bool) -> FormatLine:
    """Return the function that makes a line of fields.

    Args:
        log_format: `json`, `ecs` or `console`.
        service_name: for `ecs`.
        color: whether a console shows colours.
    """
    if log_format == "console":
        return ConsoleFormatter(color).format_line
    if log_format == "ecs":
        return EcsFormatter(service_name).format_line
    return format_json


def format_json(fields: Fields, _: logging.LogRecord | None) -> bytes:
    """Return fields as a line of JSON."""
    try:
        return orjson.dumps(fields, default=str, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return to_json(fields) + b"\n"


class EcsFormatter:
    """Makes lines by the Elastic Common Schema."""

    def __init__(self, service_name: str) -> None:
        self._service_name = service_name

    def format_line(self, fields: Fields, record: logging.LogRecord | None) -> bytes:
        """Return fields as a line of JSON, by the names of the schema."""
        return to_json(to_ecs(fields, self._service_name, record)) + b"\n"


class ConsoleFormatter:
    """Makes lines for a person; no text in them can look like another line, or move the cursor."""

    def __init__(self, color: bool) -> None:
        self._color = color

    def format_line(self, fields: Fields, _: logging.LogRecord | None) -> bytes:
        """Return fields as a line, and a traceback below it."""
        level = fields["level"]
        label = f"{level:8}"
        if self._color:
            label = f"\x1b[{COLORS.get(level, 0)}m{label}\x1b[0m"
        text = f"{fields['logger']}: {fields['message']}"
        for name, value in fields.items():
            if value is not None and name not in SHOWN_APART:
                text += f" {name}={value}"
        lines = [f"{fields['timestamp'][11:23]} {label} {escape(text)}\n"]
        exception = fields.get("exception")
        if exception:
            lines += [f"    {escape(line)}\n" for line in exception.split("\n")]
        return "".join(lines).encode(errors="backslashreplace")


def escape(text: str) -> str:
    """Return a text in which control characters are spelled out."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
