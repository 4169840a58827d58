"""What observes a service shows what a worker does, whatever the outcome of a message."""

# copier: if "prometheus" in observability
import asyncio
import logging
import time
# copier: endif
from contextlib import ExitStack
# copier: if "prometheus" in observability
from math import isnan
# copier: endif
from typing import Any

# copier: if "prometheus" in observability
import prometheus_client
import pydantic
# copier: endif
import pytest

# copier: if "prometheus" in observability
from dev.ports import free_port
# copier: endif
from dev.requests import ORDER
# copier: if "prometheus" in observability
from src.airtight.worker_metrics import Backlog, WorkerRegistry
from src.connectors.redis import RedisConnector
# copier: endif
# copier: if "prometheus" in observability
from tests.integration.test_metrics import OF_WORKERS, increases, scrape
# copier: endif
# copier: if "sentry" in observability
from tests.integration.test_sentry import dsn, events
# copier: endif
# copier: if "opentelemetry" in observability
from tests.integration.test_tracing import (
    TRACE,
    TRACEPARENT,
    Span,
    collector,
    spans,
    with_attribute,
)
# copier: endif
# copier: if "opentelemetry" in observability or "sentry" in observability
from tests.support import sink
# copier: endif
from tests.support.orders import Shop, lines, opened
from tests.support.service import Record, Service, levels_and_errors

# copier: if "prometheus" in observability
AN_HOUR = 3_600  # seconds
LAG = ("worker_lag_seconds",)
DEAD_LETTERS = ("dead_letters",)
# copier: endif
STREAM_REFUSED = "StoreRefusedError"
EMISSION_FAILED = "ReceiptEmissionFailedError"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what is seen of a worker that has emitted an order, and given up another one."""
    seen: dict[str, Any] = {}
    env = {"MAX_ATTEMPTS": "2"}
    with ExitStack() as stack:
        # copier: if "opentelemetry" in observability
        spans_sink = stack.enter_context(sink.receiving())
        env |= collector(spans_sink)
        # copier: endif
        # copier: if "sentry" in observability
        events_sink = stack.enter_context(sink.receiving())
        env["SENTRY_DSN"] = dsn(events_sink)
        # copier: endif
        # copier: if "prometheus" in observability
        port = free_port()
        env["WORKER_METRICS_PORT"] = str(port)
        # copier: endif
        folder = tmp_path_factory.mktemp("shop")
        shop = stack.enter_context(opened(folder, **env))
        # copier: if "prometheus" in observability
        old_message = add_old_message(shop)
        # copier: endif
        worker = shop.worker()
        place_good_and_bad_order(shop, worker)
        # copier: if "prometheus" in observability
        worker.wait(lambda _: shop.redis("XLEN", shop.stream) == 1)
        worker.url = f"http://127.0.0.1:{port}"
        seen["late"] = scrape(worker)
        shop.redis("XDEL", shop.stream, old_message)
        seen["empty"] = scrape(worker)
        # copier: endif
        shop.redis("SET", shop.stream, "no stream")
        worker.wait(refusals)
        # copier: if "prometheus" in observability
        seen["broken"] = scrape(worker)
        # copier: endif
        assert worker.stop() == 0
        assert worker.errors == []
        seen["records"] = worker.records()
        # copier: if "opentelemetry" in observability
        seen["spans"] = spans(spans_sink)
        # copier: endif
        # copier: if "sentry" in observability
        seen["events"] = events(events_sink)
        # copier: endif
    return seen


def place_good_and_bad_order(shop: Shop, worker: Service) -> None:
    """Place an order that is emitted, and one that the tax office fails to register."""
    service = shop.service()

    def place(name: str) -> None:
        headers = {"X-Request-ID": name}
        # copier: if "opentelemetry" in observability
        if name == "good":
            headers["traceparent"] = TRACEPARENT
        # copier: endif
        response = service.request("POST", "/orders", json=ORDER, headers=headers)
        assert response.status_code == 201

    place("good")
    worker.wait(lambda records: lines(records, "good", outcome="emitted"))
    shop.office.mode("error")
    place("bad")
    worker.wait(lambda records: lines(records, "bad", outcome="dead"))
    service.stop()


def refusals(records: list[Record]) -> list[Record]:
    """Return the records of what a store has refused."""
    return [record for record in records if record.get("error") == STREAM_REFUSED]


# copier: if "prometheus" in observability
def add_old_message(shop: Shop) -> str:
    """Add a message that is an hour old and read by nobody, and return its id."""
    milliseconds = time.time_ns() // 1_000_000
    message_id = f"{milliseconds - 1_000 * AN_HOUR}-0"
    shop.redis("XADD", shop.stream, message_id, "order_id", "")
    shop.redis("XGROUP", "CREATE", shop.stream, "workers", "$")
    return message_id


def test_messages_and_errors_are_counted(seen: dict[str, Any]) -> None:
    """Messages are counted by their outcome, and errors by their class and level."""
    late = seen["late"]
    messages = increases({}, late, "message_duration_seconds_count")
    assert messages == {("emitted",): 1, ("retried",): 1, ("dead",): 1}
    errors = increases({}, late, "errors_total")
    assert errors == {
        (EMISSION_FAILED, "WARNING"): 1,
        (EMISSION_FAILED, "ERROR"): 1,
    }
    assert {name for name, *_ in late} >= OF_WORKERS


def test_stores_are_shown(seen: dict[str, Any]) -> None:
    """The page of a worker shows its stores and their pools."""
    late = seen["late"]
    assert late["store_up", "postgres"] == 1
    assert late["store_up", "redis"] == 1
    assert ("store_pool", "in_use", "redis") in late


def test_lag_and_dead_letters_are_shown(seen: dict[str, Any]) -> None:
    """The page shows the age of the oldest message, and how many messages were given up."""
    late = seen["late"]
    assert AN_HOUR <= late[LAG] < 2 * AN_HOUR
    assert late[DEAD_LETTERS] == 1
    empty = seen["empty"]
    assert empty[LAG] == 0
    assert empty[DEAD_LETTERS] == 1
    broken = seen["broken"]
    assert isnan(broken[LAG])
    assert broken[DEAD_LETTERS] == 1  # which PostgreSQL knows without Redis


async def test_page_shows_unavailable_stores_and_logs_its_bugs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store that is unavailable is down; an error that nobody has foreseen is one CRITICAL."""

    async def backlog() -> Backlog:
        raise KeyError("ours")

    url = pydantic.RedisDsn("redis://127.0.0.1:1/0")
    redis = RedisConnector(url, 1, 1)
    registry = WorkerRegistry({"redis": redis}, backlog)
    await asyncio.to_thread(registry.collect)
    samples = prometheus_client.REGISTRY
    assert samples.get_sample_value("store_up", {"store": "redis"}) == 0
    (record,) = [record for record in caplog.records if record.levelno > logging.INFO]
    assert record.levelname == "CRITICAL"


# copier: endif
# copier: if "opentelemetry" in observability
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


def test_trace_of_a_request_continues_in_the_worker(
    seen: dict[str, Any],
) -> None:
    """The span of a message is within that of the request, and has those of its commands."""
    request = request_span(seen["spans"], "good")
    (message,) = message_spans(seen["spans"], "good")
    assert request.trace == TRACE
    assert message.trace == TRACE
    assert message.parent == request.id
    assert message.kind == "SPAN_KIND_CONSUMER"
    assert not message.failed
    assert message.attributes["outcome"] == "emitted"
    commands = {span.name for span in seen["spans"] if span.parent == message.id}
    assert commands >= {"postgresql UPDATE", "HTTP POST", "redis XACK"}


def test_records_of_a_message_have_its_trace(seen: dict[str, Any]) -> None:
    """All records of an order have the trace of its request; the line has its own span."""
    (message,) = message_spans(seen["spans"], "good")
    records = [record for record in seen["records"] if record["correlation_id"] == "good"]
    assert {record["trace_id"] for record in records} == {TRACE}
    (line,) = lines(records)
    assert line["span_id"] == message.id


def test_each_attempt_is_a_span(seen: dict[str, Any]) -> None:
    """Each attempt is a span within the request; only the last one fails, and names the error."""
    request = request_span(seen["spans"], "bad")
    attempts = message_spans(seen["spans"], "bad")
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


def test_commands_without_a_message_are_no_trace(
    seen: dict[str, Any],
) -> None:
    """What a worker does while it waits for messages has no span."""
    for span in seen["spans"]:
        if span.name.startswith(("redis", "postgresql")):
            assert span.parent


# copier: endif
# copier: if "sentry" in observability
def test_failed_message_is_one_event(seen: dict[str, Any]) -> None:
    """A failure from ERROR on is sent once; an attempt that is repeated is not."""
    emission, refusal = sorted(seen["events"], key=lambda event: event["tags"]["error"])
    assert emission["level"] == "error"
    assert emission["tags"]["error"] == EMISSION_FAILED
    assert emission["tags"]["correlation_id"] == "bad"
    assert emission["contexts"]["facts"]["attempt"] == 2
    assert refusal["level"] == "error"
    assert refusal["tags"]["error"] == STREAM_REFUSED
    assert "correlation_id" not in refusal["tags"]


# copier: endif
def test_one_failure_is_one_record(seen: dict[str, Any]) -> None:
    """What observes a worker leaves its log as it is."""
    assert levels_and_errors(seen["records"]) == [
        ("WARNING", EMISSION_FAILED),
        ("ERROR", EMISSION_FAILED),
        ("ERROR", STREAM_REFUSED),
    ]
