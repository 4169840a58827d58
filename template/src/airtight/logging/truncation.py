"""Cuts what is too long for a line, so that it stays readable and valid."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

KEPT = ("timestamp", "level", "logger", "correlation_id")  # short, and always wanted
WEIGHTS = {"exception": 4}  # of a long field in a line that is full; others weigh 1
SMALLEST = 20  # characters that are left of a text
ATTEMPTS = 6  # escapes make it unknown how long a text will be in a line

Fields = dict[str, Any]


def fit(fields: Fields, limit: int, format_line: Callable[[Fields], bytes]) -> bytes:
    """Return the line of a record, in which its longest fields are cut to make it fit.

    Args:
        fields: of the record.
        limit: the most bytes of a line.
        format_line: returns the line of fields.
    """
    line = format_line(fields)
    budget = limit
    for _ in range(ATTEMPTS):
        if len(line) <= limit:
            return line
        line = format_line(shorten(fields, budget))
        budget = budget * limit // max(len(line), limit + limit // 10)
    if len(line) <= limit:
        return line
    kept = {name: fields[name] for name in KEPT if name in fields}
    return format_line(kept | {"message": "a record did not fit", "truncated": True})


def shorten(fields: Fields, budget: int) -> Fields:
    """Return fields of which the longest are cut, to about `budget` bytes of JSON in all."""
    sizes = {name: _size(value) for name, value in fields.items()}
    room = budget - sum(len(name) + 4 for name in fields)
    while room < budget // 2 and len(sizes) > len(KEPT) + 1:
        dropped = _last_optional(sizes)
        room += len(dropped) + 4
        del sizes[dropped]
    shares = _share(sizes, room)
    shortened: Fields = {}
    for name, share in shares.items():
        shortened[name] = fields[name]
        if sizes[name] > share:
            shortened[name] = _cut(name, fields[name], sizes[name], share)
    exception = shortened.pop("exception", None)
    shortened["truncated"] = True
    if exception is not None:
        shortened["exception"] = exception
    return shortened


def _last_optional(sizes: Mapping[str, int]) -> str:
    names = [name for name in sizes if name not in (*KEPT, "message", "exception")]
    return names[-1] if names else list(sizes)[-1]


def _share(sizes: Mapping[str, int], room: int) -> dict[str, int]:
    """Return how many bytes each field may have: what short ones leave is for the long ones."""
    weights = {name: WEIGHTS.get(name, 1) for name in sizes}
    weight_left = sum(weights.values())
    shares: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: sizes[name] / weights[name]):
        share = max(0, room) * weights[name] // weight_left
        shares[name] = share
        room -= min(sizes[name], share)
        weight_left -= weights[name]
    return {name: shares[name] for name in sizes}


def _cut(name: str, value: Any, size: int, share: int) -> Any:
    if isinstance(value, bool | int | float) or value is None or name in KEPT:
        return value
    text = value
    if not isinstance(value, str):
        text = orjson.dumps(value, default=str).decode()
    length = max(SMALLEST, len(text) * share // size - SMALLEST)
    if name == "exception":
        return cut_middle(text, length)
    return cut_end(text, length)


def cut_end(text: str, length: int) -> str:
    """Return the first characters of a text."""
    rest = len(text) - length
    if rest <= 0:
        return text
    return f"{text[:length]}… ({rest} more)"


def cut_middle(text: str, length: int) -> str:
    """Return the first and the last lines of a text: those of a traceback that say most."""
    if len(text) <= length:
        return text
    head = text[: length // 3]
    tail = text[-(length - length // 3) :]
    head = head[: head.rfind("\n") + 1] or f"{head}\n"
    first_line = tail.find("\n") + 1
    if first_line < len(tail):
        tail = tail[first_line:]
    left_out = len(text) - len(head) - len(tail)
    return f"{head}… ({left_out} more)\n{tail}"


def _size(value: Any) -> int:
    try:
        return len(orjson.dumps(value, default=str))
    except TypeError:  # a lone surrogate, of which JSON makes six characters
        return 6 * len(str(value))
