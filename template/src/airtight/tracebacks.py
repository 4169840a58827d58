"""Tracebacks that start at this service's own code and repeat no rejected value."""

import os
import re
import traceback
from pathlib import Path
from textwrap import indent
from typing import Any

from fastapi.exceptions import ValidationException
from pydantic import ValidationError

SOURCE = f"{Path(__file__).resolve().parents[1]}{os.sep}"
MACHINE = f"{SOURCE}airtight{os.sep}"  # around everything, to blame for nothing
ROW_VALUES = re.compile(r"(?m)^DETAIL:.*$")  # in which a database repeats the values of a row
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


def format_exception(exc: BaseException, seen: tuple[BaseException, ...] = ()) -> str:
    """Return the traceback of an exception, its causes and a group's members, each from our first frame on."""
    walked = traceback.walk_tb(exc.__traceback__)
    frames = [f for f in walked if not f[0].f_code.co_filename.startswith(MACHINE)]
    ours = [i for i, frame in enumerate(frames) if frame[0].f_code.co_filename.startswith(SOURCE)]
    frames = frames[ours[0] if ours else -3 :]
    lines = traceback.StackSummary.extract(
        iter(frames if len(frames) < 40 else frames[:20] + frames[-20:])
    ).format()
    text = "".join(["Traceback (most recent call last):\n", *lines] if lines else [])
    if errors := invalid_values(exc):
        reasons = (f"  {'.'.join(map(str, error['loc']))}: {error['msg']}\n" for error in errors)
        text += f"{type(exc).__qualname__}:\n{''.join(reasons)}"
    else:
        text += ROW_VALUES.sub("DETAIL: ***", "".join(traceback.format_exception_only(exc)))
    earlier = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    if earlier and earlier not in seen and len(seen) < 10:
        text = (
            format_exception(earlier, (*seen, exc)) + (CAUSE if exc.__cause__ else CONTEXT) + text
        )
    for member in exc.exceptions[:10] if isinstance(exc, BaseExceptionGroup) else ():
        text += f"  -- of which --\n{indent(format_exception(member, (*seen, exc)), '  ')}"
    return text


def invalid_values(exc: BaseException) -> list[dict[str, Any]]:
    """Return where and why values were rejected, without the values."""
    errors = []
    for error in (
        exc.errors()[:50] if isinstance(exc, ValidationError | ValidationException) else ()
    ):
        given, message = error.get("input"), error["msg"]
        if isinstance(given, str) and given and error["type"] not in ("enum", "literal_error"):
            message = message.replace(given, "***")  # a validator of ours may have quoted it
        errors.append({"loc": [*error["loc"]], "type": error["type"], "msg": message[:200]})
    return errors
