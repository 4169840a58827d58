"""Tracebacks that start at this service's own code and repeat no rejected value."""

import contextlib
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent
from types import FrameType
from typing import Any

import anyio
import fastapi
import starlette
import uvicorn
from fastapi.exceptions import ValidationException
from pydantic import ValidationError

SOURCE = f"{Path(__file__).resolve().parents[1]}{os.sep}"
MACHINE = f"{Path(__file__).resolve().parent}{os.sep}"  # around everything, at fault for nothing
STANDARD_LIBRARY = Path(contextlib.__file__).parent
FRAMEWORKS = (
    MACHINE,
    *(
        f"{Path(str(package.__file__)).parent}{os.sep}"
        for package in (anyio, fastapi, starlette, uvicorn)
    ),
    f"{STANDARD_LIBRARY / 'asyncio'}{os.sep}",
    f"{STANDARD_LIBRARY / 'concurrent'}{os.sep}",
    str(STANDARD_LIBRARY / "contextlib.py"),
    str(STANDARD_LIBRARY / "threading.py"),
)
ROW_VALUES = re.compile(r"(?m)^DETAIL:.*$")  # in which a database repeats the values of a row
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
MAX_LINKS = 10  # causes, contexts and levels of groups
MAX_MEMBERS = 10  # of a group
MAX_FRAMES = 40
MAX_VALUES = 50  # that are not valid

Frame = tuple[FrameType, int]


def format_exception(exc: BaseException) -> str:
    """Return the traceback of an exception and its causes, each from our first frame on."""
    return _Formatter().format(exc, 0)


class _Formatter:
    """Formats one exception; `budget` bounds what is shown of groups within groups."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.budget = MAX_MEMBERS * 3

    def format(self, exc: BaseException, depth: int) -> str:
        self.seen.add(id(exc))
        text = _format_frames(exc) + _format_message(exc)
        earlier = _earlier(exc)
        if earlier is not None and self._is_shown(earlier, exc, depth):
            link = CAUSE if exc.__cause__ is not None else CONTEXT
            text = self.format(earlier, depth + 1) + link + text
        if isinstance(exc, BaseExceptionGroup):
            for member in exc.exceptions[:MAX_MEMBERS]:
                if self._is_shown(member, exc, depth):
                    member_text = self.format(member, depth + 1)
                    text += f"  -- of which --\n{indent(member_text, '  ')}"
        return text

    def _is_shown(self, link: BaseException, exc: BaseException, depth: int) -> bool:
        if id(link) in self.seen or depth >= MAX_LINKS or self.budget <= 0:
            return False
        self.budget -= 1
        return not _only_wraps(link, exc)


def _only_wraps(group: BaseException, exc: BaseException) -> bool:
    """Return whether a group adds nothing to the one exception that it holds."""
    for _ in range(MAX_LINKS):
        if not isinstance(group, BaseExceptionGroup) or len(group.exceptions) != 1:
            break
        group = group.exceptions[0]
    return group is exc


def _earlier(exc: BaseException) -> BaseException | None:
    if exc.__cause__ is not None:
        return exc.__cause__
    return None if exc.__suppress_context__ else exc.__context__


def walk_traceback(exc: BaseException) -> Iterator[FrameType]:
    """Yield the frames of an exception, outermost first."""
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        yield frame


def _format_frames(exc: BaseException) -> str:
    frames = trim(list(traceback.walk_tb(exc.__traceback__)))
    if len(frames) > MAX_FRAMES:
        half = MAX_FRAMES // 2
        frames = frames[:half] + frames[-half:]
    lines = traceback.StackSummary.extract(iter(frames)).format()
    if not lines:
        return ""
    return "".join(["Traceback (most recent call last):\n", *lines])


def trim(frames: list[Frame]) -> list[Frame]:
    """Return the frames from our first one on, without those of frameworks between ours.

    What our last frame has called stays; where no frame is ours, the last three do.
    """
    ours = [number for number, frame in enumerate(frames) if _is_ours(frame)]
    if not ours:
        return [frame for frame in frames if not _file(frame).startswith(MACHINE)][-3:]
    between = frames[ours[0] : ours[-1]]
    kept = [frame for frame in between if _is_ours(frame) or not _is_framework(frame)]
    return kept + frames[ours[-1] :]


def _file(frame: Frame) -> str:
    return frame[0].f_code.co_filename


def _is_ours(frame: Frame) -> bool:
    file = _file(frame)
    return file.startswith(SOURCE) and not file.startswith(MACHINE)


def _is_framework(frame: Frame) -> bool:
    return _file(frame).startswith(FRAMEWORKS)


def _format_message(exc: BaseException) -> str:
    errors = invalid_values(exc)
    if errors:
        reasons = [f"  {'.'.join(map(str, error['loc']))}: {error['msg']}\n" for error in errors]
        return f"{type(exc).__qualname__}:\n{''.join(reasons)}"
    if isinstance(exc, BaseExceptionGroup):
        name = type(exc).__qualname__
        return f"{name}: {exc.message} ({len(exc.exceptions)} sub-exceptions)\n"
    return ROW_VALUES.sub("DETAIL: ***", "".join(traceback.format_exception_only(exc)))


def invalid_values(exc: BaseException) -> list[dict[str, Any]]:
    """Return where and why values are not valid, without the values."""
    if not isinstance(exc, ValidationError | ValidationException):
        return []
    try:
        found = list(exc.errors())[:MAX_VALUES]
    except TypeError:  # raised by hand with something else than a list
        found = []
    return [_invalid_value(error) for error in found] or [_invalid_value("not valid")]


def _invalid_value(error: Any) -> dict[str, Any]:
    if not isinstance(error, Mapping):
        return {"loc": [], "type": "value_error", "msg": _text(error)}
    message = _text(error.get("msg", "not valid"))
    rejected = error.get("input")
    kind = _text(error.get("type", "value_error"))
    if isinstance(rejected, str) and rejected and kind not in ("enum", "literal_error"):
        message = message.replace(rejected, "***")  # a validator of ours may have quoted it
    location = error.get("loc", ())
    if not isinstance(location, list | tuple):
        location = (location,)
    return {"loc": [_place(part) for part in location], "type": kind, "msg": message[:200]}


def _place(part: Any) -> str | int:
    return part if isinstance(part, int) else _text(part)


def _text(value: Any) -> str:
    try:
        return str(value)[:2_000]
    except Exception:  # noqa: BLE001 - a value whose `__str__` fails says nothing
        return f"<{type(value).__qualname__}>"
