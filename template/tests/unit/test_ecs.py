"""Records in Elastic's form hold nothing that its schema does not know."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from src.airtight.context import RequestContext, current_context, set_subject
from src.airtight.logging import (
    configure_logging,
    log_access,
    report_exception,
)
from src.utils.errors import UnavailableError
from tests.support.service import assert_fields

# From Elastic's generated list of version 8.11.0, ecs_flat, in its package @elastic/ecs 8.11.5. A
# record has no other fields.
SCHEMA = {
    "@timestamp": "date",
    "client.address": "keyword",
    "ecs.version": "keyword",
    "error.message": "match_only_text",
    "error.stack_trace": "wildcard",
    "error.type": "keyword",
    "event.duration": "long",
    "http.request.method": "keyword",
    "http.response.status_code": "long",
    "labels": "object",
    "log.level": "keyword",
    "log.logger": "keyword",
    "log.origin.file.line": "long",
    "log.origin.file.name": "keyword",
    "log.origin.function": "keyword",
    "message": "match_only_text",
    "process.pid": "long",
    "process.thread.name": "keyword",
    "service.name": "keyword",
    # copier: if "opentelemetry" in observability
    "span.id": "keyword",
    "trace.id": "keyword",
    # copier: endif
    "url.path": "wildcard",
    "user.id": "keyword",
}
TYPES = {
    "date": str,
    "keyword": str,
    "match_only_text": str,
    "wildcard": str,
    "long": int,
    "object": dict,
}
REQUIRED = ["@timestamp", "log.level", "message"]  # first, and in this order


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.root
    hook = sys.excepthook
    handlers = root.handlers
    level = root.level
    root.handlers = []
    token = current_context.set(RequestContext("abc"))
    yield
    current_context.reset(token)
    for handler in root.handlers:
        for file in (handler, getattr(handler, "_file", None)):
            if file:
                file.close()
    root.handlers = handlers
    root.setLevel(level)
    sys.excepthook = hook
    logging.captureWarnings(False)


def written(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the only record, and assert that the schema knows its fields."""
    (line,) = capfd.readouterr().out.splitlines()
    record: dict[str, Any] = json.loads(line)
    assert list(record)[:3] == REQUIRED
    for name, value in record.items():
        assert type(value) is TYPES[SCHEMA[name]], name
    for label in record["labels"].values():
        assert isinstance(label, str)  # the object_type of labels is keyword
    assert datetime.fromisoformat(record["@timestamp"]).tzinfo
    assert record["labels"]["correlation_id"] == "abc"
    assert_fields(
        record,
        **{
            "ecs.version": "8.11.0",
            "service.name": "s",
            "process.thread.name": "MainThread",
        },
    )
    return record


def test_request(capfd: pytest.CaptureFixture[str]) -> None:
    """An access line has the request, the status of the response, and how long it took."""
    configure_logging("info", "ecs", "s")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/x",
        "client": ("::1", 1),
    }
    log_access(scope, 404, time.perf_counter() - 0.25)
    record = written(capfd)
    assert record["log.logger"] == "access"
    assert record["http.request.method"] == "GET"
    assert record["url.path"] == "/x"
    assert record["http.response.status_code"] == 404
    assert record["client.address"] == "::1"
    assert 250_000_000 <= record["event.duration"] < 10_000_000_000


def test_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """A failure has its type, its message and its trimmed traceback; its fields are labels."""
    configure_logging("info", "ecs", "s")
    error = UnavailableError("it\nrests")
    vars(error).update(
        port=5432,
        path="/a/file",
        nested={"password": "hunter2", "odd": "\ud800"},
    )
    report_exception(error, status=503, errors=[{"loc": ["body"]}])
    record = written(capfd)
    assert record["error.type"] == "UnavailableError"
    assert record["error.message"] == "it\nrests"
    trace = record["error.stack_trace"]
    assert trace.endswith("UnavailableError: it\nrests")
    labels = record["labels"]
    assert labels["port"] == "5432"
    assert labels["path"] == "/a/file"
    assert labels["status"] == "503"
    assert labels["errors"] == '[{"loc": ["body"]}]'
    assert json.loads(labels["nested"])["password"] == "***"


def test_subject(capfd: pytest.CaptureFixture[str]) -> None:
    """Who calls is the user; what an author calls a subject is always a label."""
    configure_logging("info", "ecs", "s")
    mail = logging.getLogger("mail")
    mail.info("sent", extra={"subject": "hello"})
    assert written(capfd)["labels"]["subject"] == "hello"
    set_subject("ann")
    mail.info("sent", extra={"subject": "hello"})
    record = written(capfd)
    assert record["user.id"] == "ann"
    assert record["labels"]["subject_"] == "hello"
    log_access({"type": "http", "method": "GET", "path": "/x"}, 200, 0)
    assert written(capfd)["user.id"] == "ann"


# copier: if "opentelemetry" in observability
def test_trace(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A record within a trace has the ids of the trace and of the span."""
    monkeypatch.setattr(
        "src.airtight.logging.fields.context_fields",
        [lambda: {"trace_id": "a1", "span_id": "b2"}],
    )
    configure_logging("info", "ecs", "s")
    logging.getLogger("shop").info("sold")
    record = written(capfd)
    assert record["trace.id"] == "a1"
    assert record["span.id"] == "b2"


# copier: endif
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError", "division by zero"),
        (KeyError(), "KeyError", ""),
        (
            ExceptionGroup("both", [ValueError("a"), KeyError("b")]),
            "ExceptionGroup",
            "both (2 sub-exceptions)",
        ),
    ],
)
def test_failure_that_anybody_logs(
    capfd: pytest.CaptureFixture[str], error: Exception, kind: str, message: str
) -> None:
    """A library's record has the type and the message of its error, too."""
    configure_logging("info", "ecs", "s")
    extra = {"error": {"code": 1}, "route": 7, "status": {}}
    library = logging.getLogger("library")
    library.error("failed", exc_info=error, extra=extra)
    record = written(capfd)
    assert record["error.type"] == kind
    assert record["error.message"] == message
    assert record["labels"] == {
        "correlation_id": "abc",
        "error": '{"code": 1}',
        "route": "7",
        "status": "{}",
    }


def test_rejected_request(capfd: pytest.CaptureFixture[str]) -> None:
    """The body is a label: the schema's field is for a full one, and this is redacted and cut."""
    configure_logging("info", "ecs", "s")
    fields = {
        "status": 422,
        "method": "POST",
        "path": "/x",
        "route": "/x",
        "errors": [{"loc": ["body", "name"]}],
    }
    report_exception(
        UnavailableError("no"),
        logging.WARNING,
        "invalid request",
        body='{"password":"***"}',
        **fields,
    )
    record = written(capfd)
    assert record["http.response.status_code"] == 422
    assert record["url.path"] == "/x"
    assert record["error.type"] == "UnavailableError"
    assert record["labels"]["body"] == '{"password":"***"}'


def test_record_of_anybody(capfd: pytest.CaptureFixture[str]) -> None:
    """A record has its origin; an extra never replaces a field of another type."""
    configure_logging("info", "ecs", "s")
    extra = {"status": "shipped", "client": 7, "method": None}
    logging.getLogger("shop").warning("sold", extra=extra)
    record = written(capfd)
    assert record["log.level"] == "WARNING"
    assert record["message"] == "sold"
    assert record["log.logger"] == "shop"
    assert record["log.origin.file.name"] == "test_ecs.py"
    assert record["log.origin.function"] == "test_record_of_anybody"
    assert record["labels"] == {"correlation_id": "abc", "status": "shipped", "client": "7"}


@pytest.mark.parametrize("form", ["json", "ecs", "console"])
def test_file_holds_the_same_and_rotates(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    """The second place has what stdout has, failures once; a full file gives way to a new one."""
    file = tmp_path / "log"
    file.write_text("x" * 9_999_000 + "\n", encoding="utf-8")
    configure_logging("info", form, "s", file)
    log_access({"type": "http", "method": "GET", "path": "/x"}, 200, 0)
    error = ValueError("once")
    report_exception(error)
    report_exception(error)
    for number in range(30):
        logging.getLogger("shop").info("sold %d 🦀", number)
    out = capfd.readouterr().out
    assert out.count("unexpected error") == 1
    old = (tmp_path / "log.1").read_text(encoding="utf-8").partition("\n")[2]
    assert old + file.read_text(encoding="utf-8") == out
    assert old != ""
    assert file.stat().st_size < 9_999_000
