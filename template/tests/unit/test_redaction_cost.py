"""What a record costs grows with its text in a straight line at most, whatever the text holds.

Steps are counted and not seconds: lines of Python, and repetitions that a pattern may take back.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from types import FrameType, ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.airtight.handlers import _describe_body
from src.airtight.logging import redaction
from src.airtight.logging.redaction import Redactor, cards, names, pairs, urls

PIECES = [
    *("pwd", "password", "token", "session", "pin", "Bearer ", "basic ", "eyJ", "card", "-----"),
    *("://", "a:b", "@", "=", ": ", '"', "'", "\\", "`", "{", "}", "[", "]", "(", ")", "<", ">"),
    *("</", "&", "%5B", "%3D", "--", " ", "\n", "\t", "4111", "4111 1111 1111 1111", "a", "é", "İ"),
    *('name="', 'value="', "Content-Disposition: form-data; ", "\r\n\r\n", "\r\n--", "->", "=>"),
]
NO_LIMIT = 10**9


def count_steps(function: Callable[[], object]) -> int:
    """Return how many lines of Python a call runs."""
    steps = 0

    def trace(_frame: FrameType, _event: str, _argument: Any) -> Any:
        nonlocal steps
        steps += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return steps


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
def test_steps_of_a_text_grow_in_a_straight_line(pieces: list[str]) -> None:
    """Twice the text takes at most twice the steps, and a little."""
    redactor = Redactor()
    pattern = "".join(pieces)
    text = pattern * 100
    redactor.redact_text(text, NO_LIMIT)  # names are judged once
    once = count_steps(lambda: redactor.redact_text(text, NO_LIMIT))
    twice = count_steps(lambda: redactor.redact_text(text * 2, NO_LIMIT))
    assert twice <= 2.2 * once + 200, pattern


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8))
def test_steps_of_a_body_do_not_grow(pieces: list[str]) -> None:
    """A body is cut before it is searched."""
    text = "".join(pieces)
    shapes: list[Callable[[int], Any]] = [
        lambda count: text * count,
        lambda count: {f"a{number}": text for number in range(count)},
        lambda count: {"a0": {"b0": text * count}},
        lambda count: [[text]] * count,
    ]
    for shape in shapes:
        small = shape(3_000)
        large = shape(30_000)
        for body in (small, large):
            _describe_body(body)  # names are judged once
        few = count_steps(partial(_describe_body, small))
        many = count_steps(partial(_describe_body, large))
        assert many <= 1.2 * few


def patterns() -> Iterator[Any]:
    """Yield each pattern of the redaction."""
    modules: list[ModuleType] = [redaction, cards, names, pairs, urls]
    for module in modules:
        for name, value in vars(module).items():
            found = value.values() if isinstance(value, dict) else [value]
            for pattern in found:
                if isinstance(pattern, re.Pattern):
                    yield pytest.param(pattern, id=f"{module.__name__.split('.')[-1]}.{name}")


def backtracking(parsed: Any) -> Iterator[Any]:
    """Yield what a pattern repeats without end, and may take back."""
    for code, argument in parsed:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT) and argument[1] is codes.MAXREPEAT:
            yield argument
        for part in find_parts(argument):
            yield from backtracking(part)


def find_parts(argument: Any) -> Iterator[Any]:
    """Yield the patterns within a pattern."""
    pending = [argument]
    while pending:
        value = pending.pop()
        if isinstance(value, parser.SubPattern):
            yield value
        elif isinstance(value, list | tuple):
            pending.extend(value)


@pytest.mark.parametrize("pattern", list(patterns()))
def test_patterns_do_not_backtrack(pattern: re.Pattern[str]) -> None:
    """No repetition without end is tried again with fewer characters."""
    assert list(backtracking(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))) == []
