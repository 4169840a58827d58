"""The trace of a request goes on in the worker that does its work."""

from dataclasses import dataclass

import pytest

from tests.integration.test_tracing import (
    TRACE,
    TRACEPARENT,
    Span,
    collector,
    spans,
    with_attribute,
)
from tests.support import sink
from tests.support.failing_orders import EMISSION_FAILED, run_worker
from tests.support.orders import lines
from tests.support.service import Record


@dataclass(frozen=True)
class Seen:
    """What a worker has logged, and what the collector has received."""

    records: list[Record]
    spans: list[Span]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Return what is seen of a worker that has emitted an order, and given up another one."""
    with sink.receiving() as received:
        folder = tmp_path_factory.mktemp("shop")
        records = run_worker(folder, collector(received), traceparent=TRACEPARENT)
        return Seen(records, spans(received))


def request_span(found: list[Span], name: str) -> Span:
    """Return the span of the request that has placed an order."""
    (span,) = [
        span
        for span in with_attribute(found, "correlation_id", name)
        if span.name == "POST /orders"
    ]
    return span


def message_spans(found: list[Span], name: str) -> list[Span]:
    """Return the spans of the attempts at an order."""
    return [
        span
        for span in with_attribute(found, "correlation_id", name)
        if span.name.startswith("process")
    ]


def test_trace_of_a_request_continues_in_the_worker(seen: Seen) -> None:
    """The span of a message is within that of the request, and has those of its commands."""
    request = request_span(seen.spans, "good")
    (message,) = message_spans(seen.spans, "good")
    assert request.trace == TRACE
    assert message.trace == TRACE
    assert message.parent == request.id
    assert message.kind == "SPAN_KIND_CONSUMER"
    assert not message.failed
    assert message.attributes["outcome"] == "emitted"
    commands = {span.name for span in seen.spans if span.parent == message.id}
    assert commands >= {"postgresql UPDATE", "HTTP POST", "redis XACK"}


def test_records_of_a_message_have_its_trace(seen: Seen) -> None:
    """All records of an order have the trace of its request; the line has its own span."""
    (message,) = message_spans(seen.spans, "good")
    records = [record for record in seen.records if record["correlation_id"] == "good"]
    assert {record["trace_id"] for record in records} == {TRACE}
    (line,) = lines(records)
    assert line["span_id"] == message.id


def test_each_attempt_is_a_span(seen: Seen) -> None:
    """Each attempt is a span within the request; only the last one fails, and names the error."""
    request = request_span(seen.spans, "bad")
    attempts = message_spans(seen.spans, "bad")
    attempts.sort(key=lambda span: span.attributes["attempt"])
    first, last = attempts
    assert first.parent == request.id
    assert first.attributes["attempt"] == 1
    assert first.attributes["outcome"] == "retried"
    assert "error.type" not in first.attributes
    assert not first.failed
    assert last.parent == request.id
    assert last.attributes["attempt"] == 2
    assert last.attributes["outcome"] == "dead"
    assert last.attributes["error.type"] == EMISSION_FAILED
    assert last.failed


def test_commands_without_a_message_are_no_trace(seen: Seen) -> None:
    """What a worker does while it waits for messages has no span."""
    for span in seen.spans:
        if span.name.startswith(("redis", "postgresql")):
            assert span.parent
