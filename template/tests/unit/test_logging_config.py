"""Records have one form, keep secrets, and tell a failure once."""

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from src.airtight.context import RequestContext, current_context
from src.airtight.logging import (
    configure_logging,
    log_access,
    redact,
    report_exception,
    to_json,
)
from src.airtight.logging.writer import LineWriter
from src.utils.errors import UnavailableError

logger = logging.getLogger("tests")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.root
    hook = sys.excepthook
    handlers = root.handlers[:]
    level = root.level
    token = current_context.set(None)
    yield
    current_context.reset(token)
    root.handlers = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(False)


def written(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def quiet(form: str = "json") -> None:
    """Configure logging as if nobody else were listening."""
    logging.root.handlers = []
    configure_logging("info", form)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (
            {"password": "x", "PASSWD": 1, "api_key": ["x"]},
            {"password": "***", "PASSWD": "***", "api_key": "***"},
        ),
        (
            {"user": {"Authorization": "Bearer x", "name": "ann"}},
            {"user": {"Authorization": "***", "name": "ann"}},
        ),
        ("see amqp://me:p@ss:word@queue/x now", "see amqp://me:***@queue/x now"),
        (["https://:secret@api/0"], ["https://:***@api/0"]),
        ("http://host:80/path", "http://host:80/path"),
        ("x" * 2_001, "x" * 2_000 + "… (1 more)"),
        (
            {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}},
            {"a": {"b": {"c": {"d": {"e": {"f": "{'g': 1}"}}}}}},
        ),
        (list(range(60)), list(range(50))),
        (None, None),
        (True, True),
        (b"ab", "b'ab'"),
    ],
)
def test_mask(value: object, masked: object) -> None:
    """Secrets go by their name or their place in a URL; large values are cut."""
    assert redact(value) == masked


@pytest.mark.parametrize(
    "value", [{"a": "\ud800"}, {"a": 2**70}, {"a": object}, {"a": float("nan")}]
)
def test_json_holds_whatever_it_is_given(value: dict[str, Any]) -> None:
    """No value keeps a record from being written."""
    assert list(json.loads(to_json(value))) == ["a"]


def test_record_is_one_json_object(capfd: pytest.CaptureFixture[str]) -> None:
    """A record has its fixed fields first, which none replaces, and its traceback last."""
    quiet()
    current_context.set(RequestContext("abc"))
    try:
        dict[str, str]()["x"]
    except KeyError:
        logger.exception("failed %s", "once", extra={"order": 7, "level": "fake", "token": "t"})
    (record,) = written(capfd)
    assert list(record) == [
        "timestamp",
        "level",
        "logger",
        "message",
        "correlation_id",
        "error",
        "order",
        "token",
        "exception",
    ]
    assert (record["level"], record["message"], record["correlation_id"]) == (
        "ERROR",
        "failed once",
        "abc",
    )
    assert (record["order"], record["token"]) == (7, "***")
    assert record["exception"].endswith("KeyError: 'x'")


def test_console_record_is_one_line_with_the_traceback_below(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In the form for people nothing can look like another record."""
    quiet("console")
    logger.warning("first\nsecond\x1b[31m", extra={"fact": "a\nb"})
    report_exception(ValueError("a\nINFO forged"))
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].endswith(r"WARNING  tests: first\nsecond\x1b[31m fact=a\nb")
    assert [line[:4] == "    " for line in lines[2:]] == [True] * (len(lines) - 2)


def test_failure_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """An exception, its cause, and the exception that follows from it are one record."""
    quiet()
    current_context.set(RequestContext("abc"))
    cause = KeyError("x")
    error = UnavailableError("why")
    error.__cause__ = cause
    logger.error("a library fails", exc_info=cause)
    report_exception(error)
    report_exception(cause)
    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)
    logger.error("another", exc_info=ValueError("other"))
    assert [r["message"] for r in written(capfd)] == ["a library fails", "another"]


def test_report_takes_facts_of_any_name(capfd: pytest.CaptureFixture[str]) -> None:
    """A fact whose name `logging` keeps for itself is written all the same."""
    quiet()
    error = UnavailableError("why")
    vars(error).update(name="n", message="m", host="h")
    report_exception(error, store="cache")
    (record,) = written(capfd)
    assert (record["name_"], record["message_"], record["host"], record["store"]) == (
        "n",
        "m",
        "h",
        "cache",
    )
    assert (record["level"], record["error"]) == ("ERROR", "UnavailableError")


def test_access_line_is_the_same_for_other_handlers(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Other handlers get records; the line that is written without one has the same fields."""
    scope = {"type": "http", "method": "GET", "path": "/x", "client": ("::1", 1)}
    current_context.set(RequestContext("abc"))
    quiet()
    log_access(scope, 200, 0)
    logging.root.addHandler(caplog.handler)
    log_access(scope, 200, 0)
    fast, usual = written(capfd)
    kinds: dict[str, type] = {
        "timestamp": str,
        "level": str,
        "logger": str,
        "message": str,
        "correlation_id": str,
        "method": str,
    }
    kinds |= {"path": str, "route": type(None), "status": int, "duration_ms": float, "client": str}
    assert {name: type(value) for name, value in fast.items()} == kinds
    assert list(fast) == list(usual) == list(kinds)
    assert fast | {"timestamp": 0, "duration_ms": 0} == usual | {"timestamp": 0, "duration_ms": 0}
    assert [r.__dict__["status"] for r in caplog.records] == [200]


def test_level_holds_for_access_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """Where INFO is not wanted, there are no access lines."""
    logging.root.handlers = []
    configure_logging("warning", "json")
    log_access({"type": "http", "path": "/x"}, 200, 0)
    assert written(capfd) == []


class BreakingTarget:
    """What lines are written to, unless it is broken."""

    name = "stdout"
    max_line = 1_000

    def __init__(self) -> None:
        self.is_broken = True
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> int:
        """Take a line."""
        if self.is_broken:
            raise BrokenPipeError
        self.lines.append(line)
        return len(line)

    def wait(self, seconds: float) -> None:
        """Return at once."""

    def close(self) -> None:
        """Do nothing."""


def test_stream_that_breaks_is_reported_once_an_outage(capfd: pytest.CaptureFixture[str]) -> None:
    """A stream that breaks is one line on stderr for each outage, and no line is lost."""
    target = BreakingTarget()
    writer = LineWriter(target, lambda *_: None)
    writer.write(b"one")
    writer.write(b"two")
    target.is_broken = False
    assert writer.flush(0)
    target.is_broken = True
    writer.write(b"three")
    assert capfd.readouterr().err.count("records are lost") == 2
    target.is_broken = False
    assert writer.flush(0)
    assert target.lines == [b"one", b"two", b"three"]


def test_wrong_log_call_is_logged_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    """A call whose arguments do not fit is a record that says so."""
    quiet()
    logger.error("%d", "seven")
    (record,) = written(capfd)
    assert (record["level"], record["message"], record["args"]) == ("ERROR", "%d", ["seven"])
    assert record["format_error"].startswith("TypeError: ")
