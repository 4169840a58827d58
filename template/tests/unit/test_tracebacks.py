"""Tracebacks start at our own code and repeat no rejected value."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from src.airtight import tracebacks
from src.airtight.tracebacks import format_exception, invalid_values

HERE = str(Path(__file__).parent) + "/"
LIBRARY = "/library/code.py"


def library(function: Callable[[], Any]) -> Any:
    """Call a function from a frame that is not ours."""
    source = "def call(function):\n    return function()\n"
    namespace: dict[str, Any] = {}
    exec(compile(source, LIBRARY, "exec"), namespace)
    return namespace["call"](function)


def caught(function: Callable[[], Any]) -> BaseException:
    """Return the exception that a function raises."""
    try:
        function()
    except BaseException as exc:  # noqa: BLE001
        return exc
    pytest.fail("nothing was raised")


def files(text: str) -> list[str]:
    """Return the names of the files in a traceback, without their folders."""
    paths = re.findall(r'File "(.+?)"', text)
    return [path.rpartition("/")[-1] for path in paths]


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tests count as the service's own code."""
    monkeypatch.setattr(tracebacks, "SOURCE", HERE)


def divide() -> None:
    1 / 0  # noqa: B018


def chained() -> None:
    try:
        library(divide)
    except ZeroDivisionError as exc:
        raise RuntimeError("second") from exc


def in_context() -> None:
    try:
        library(divide)
    except ZeroDivisionError:
        dict[str, str]()["third"]


def grouped() -> None:
    raise BaseExceptionGroup("several", [caught(chained), caught(divide)])


def test_frames_above_our_first_one_are_cut() -> None:
    """What the framework did before it called us is not shown; what we called is."""
    exc = caught(lambda: library(lambda: library(divide)))
    skip_to_library(exc)
    assert files(format_exception(exc)) == [
        "test_tracebacks.py",
        "test_tracebacks.py",
        "code.py",
        "test_tracebacks.py",
    ]


def skip_to_library(exc: BaseException) -> None:
    """Drop frames until the first one is the library's, as if a server had called it."""
    while exc.__traceback__:
        if exc.__traceback__.tb_frame.f_code.co_filename == LIBRARY:
            return
        exc.__traceback__ = exc.__traceback__.tb_next


def test_last_three_frames_stay_where_none_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not in our code still shows where it happened."""
    monkeypatch.setattr(tracebacks, "SOURCE", "/nowhere/")
    exc = caught(lambda: library(lambda: library(lambda: library(divide))))
    assert len(files(format_exception(exc))) == 3


@pytest.mark.parametrize(
    ("function", "words"), [(chained, tracebacks.CAUSE), (in_context, tracebacks.CONTEXT)]
)
def test_causes_and_contexts_are_shown_before(function: Callable[[], None], words: str) -> None:
    """What led to an error stands before it, as Python itself has it."""
    first, second = format_exception(caught(function)).split(words)
    assert first.rstrip().endswith("ZeroDivisionError: division by zero")
    assert second.startswith("Traceback")


def test_suppressed_context_is_not_shown() -> None:
    """`raise … from None` hides what came before."""
    exc = caught(in_context)
    exc.__suppress_context__ = True
    assert "ZeroDivisionError" not in format_exception(exc)


def test_all_members_of_a_group_are_shown() -> None:
    """A group shows each of its members with its own traceback."""
    text = format_exception(caught(grouped))
    assert text.count("ZeroDivisionError: division by zero") == 2
    assert text.count("RuntimeError: second") == 1


def test_endless_chains_and_stacks_are_cut() -> None:
    """Neither a circle of causes nor a deep recursion makes a record without end."""
    first = ValueError("a")
    second = ValueError("b")
    first.__cause__ = second
    second.__cause__ = first
    assert format_exception(first).count("ValueError") == 2

    def deeper() -> None:
        deeper()

    assert len(files(format_exception(caught(deeper)))) <= 40


class Strict(BaseModel):
    name: str
    age: int = 0

    @field_validator("name")
    @classmethod
    def _refuse(cls, value: str) -> str:
        raise ValueError(f"{value} is refused")


def test_rejected_values_are_not_repeated() -> None:
    """A validation error says where and why, even if a validator quotes the value."""
    rejected: dict[str, Any] = {
        "name": "hunter" + "1",
        "age": "hunter" + "2",
    }
    exc = caught(lambda: Strict(**rejected))
    text = format_exception(exc)
    assert "hunter1" not in text
    assert "hunter2" not in text
    assert "name: Value error, *** is refused" in text
    assert [error["loc"] for error in invalid_values(exc)] == [["name"], ["age"]]


def test_values_of_a_row_are_not_repeated() -> None:
    """A database quotes the row that breaks a constraint; we do not."""
    text = format_exception(
        RuntimeError("duplicate key\nDETAIL:  Key (email)=(ann@example) already exists.")
    )
    assert text.splitlines()[-1] == "DETAIL: ***"
