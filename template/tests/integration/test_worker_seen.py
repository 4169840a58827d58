"""What a worker does is seen from outside, whatever becomes of a message."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
# copier: if "prometheus" in observability
import asyncio
import logging
import time
# copier: endif
# copier: if "sentry" in observability
from collections import Counter
# copier: endif
from collections.abc import Iterator
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
from dev.tasks import ORDER
# copier: if "prometheus" in observability
from src.airtight.worker_metrics import Backlog, WorkerRegistry
from src.connectors.redis import RedisConnector
# copier: endif
# copier: if "prometheus" in observability
from tests.integration.test_metrics import OF_WORKERS, scrape
# copier: endif
# copier: if "sentry" in observability
from tests.integration.test_sentry import events
# copier: endif
# copier: if "opentelemetry" in observability
from tests.integration.test_tracing import TRACE, spans
# copier: endif
# copier: if "opentelemetry" in observability or "sentry" in observability
from tests.support import sink
# copier: endif
from tests.support.orders import lines, opened
from tests.support.service import failures


# copier: if false
# isort: on
# fmt: on
# copier: endif
@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """All that was seen of a worker that has emitted one order, and given up another one after two attempts."""
    seen: dict[str, Any] = {}
    env = {"MAX_ATTEMPTS": "2"}
    with ExitStack() as stack:
        # copier: if "opentelemetry" in observability
        collector = stack.enter_context(sink.receiving())
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector}", "OTEL_SERVICE_NAME": "mine"}
        # copier: endif
        # copier: if "sentry" in observability
        sentry = stack.enter_context(sink.receiving())
        env["SENTRY_DSN"] = f"http://key@{sentry}/1"
        # copier: endif
        # copier: if "prometheus" in observability
        env["WORKER_METRICS_PORT"] = str(free_port())
        # copier: endif
        shop = stack.enter_context(opened(tmp_path_factory.mktemp("shop"), **env))
        service = shop.service()
        # copier: if "prometheus" in observability
        forgotten = f"{time.time_ns() // 1_000_000 - 3_600_000}-0"  # an hour ago, and by nobody to be heard of
        shop.redis("XADD", shop.stream, forgotten, "order_id", "")
        shop.redis("XGROUP", "CREATE", shop.stream, "workers", "$")
        # copier: endif
        worker = shop.worker()
        headers = {
            "X-Request-ID": "good",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
        assert service.request("POST", "/orders", json=ORDER, headers=headers).status_code == 201
        worker.wait(lambda records: lines(records, "good", outcome="emitted"))
        shop.office.mode("error")
        service.request("POST", "/orders", json=ORDER, headers={"X-Request-ID": "bad"})
        worker.wait(lambda records: lines(records, "bad", outcome="dead"))
        # copier: if "prometheus" in observability
        worker.wait(lambda _: shop.redis("XLEN", shop.stream) == 1)
        worker.url = f"http://127.0.0.1:{env['WORKER_METRICS_PORT']}"
        seen["pages"] = [scrape(worker)]
        shop.redis("XDEL", shop.stream, forgotten)
        seen["pages"].append(scrape(worker))
        # copier: endif
        shop.redis("SET", shop.stream, "no stream")
        worker.wait(lambda records: [r for r in records if r.get("error") == "StoreRefusedError"])
        # copier: if "prometheus" in observability
        seen["pages"].append(scrape(worker))
        # copier: endif
        service.stop()
        assert (worker.stop(), worker.errors) == (0, [])
        seen["records"] = worker.records()
        # copier: if "opentelemetry" in observability
        seen["spans"] = spans(collector)
        # copier: endif
        # copier: if "sentry" in observability
        seen["events"] = events(sentry)
        # copier: endif
        yield seen


# copier: if "prometheus" in observability
def test_messages_lag_and_dead_letters_are_counted(seen: dict[str, Any]) -> None:
    """The worker's page tells what has become of messages, how old the oldest one is, and what was given up."""
    late, empty, broken = seen["pages"]
    counts = {
        key[1]: value
        for key, value in late.items()
        if key[0] == "message_duration_seconds_count" and value
    }
    assert counts == {"emitted": 1, "retried": 1, "dead": 1}
    assert {
        key[1:]: value for key, value in late.items() if key[0] == "errors_total" and value
    } == {
        ("ReceiptEmissionFailedError", "WARNING"): 1,
        ("ReceiptEmissionFailedError", "ERROR"): 1,
    }
    assert (late["store_up", "postgres"], late["store_up", "redis"]) == (1, 1)
    assert ("store_pool", "in_use", "redis") in late
    assert 3600 <= late["worker_lag_seconds",] < 7200
    assert (late["dead_letters",], empty["dead_letters",], empty["worker_lag_seconds",]) == (
        1,
        1,
        0,
    )
    assert isnan(broken["worker_lag_seconds",])
    assert broken["dead_letters",] == 1  # PostgreSQL knows, whatever becomes of Redis
    assert {name for name, *_ in late} >= OF_WORKERS


async def test_page_shows_what_is_away_and_a_bug_in_it_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store that is away is down, of which the worker has told; what nobody has foreseen is one CRITICAL."""

    async def backlog() -> Backlog:
        raise KeyError("ours")

    registry = WorkerRegistry(
        {"redis": RedisConnector(pydantic.RedisDsn("redis://127.0.0.1:1/0"), 1, 1)}, backlog
    )
    await asyncio.to_thread(registry.collect)
    assert prometheus_client.REGISTRY.get_sample_value("store_up", {"store": "redis"}) == 0
    assert [r.levelname for r in caplog.records if r.levelno > logging.INFO] == ["CRITICAL"]


# copier: endif
# copier: if "opentelemetry" in observability
def test_trace_of_a_request_goes_on_in_the_worker(seen: dict[str, Any]) -> None:
    """Each attempt is a span within the request that has placed the order; what it does is within that."""
    told = seen["spans"]
    (request,) = [
        s for s in told if s.name == "POST /orders" and s.facts["correlation_id"] == "good"
    ]
    (message,) = [
        s for s in told if s.name.startswith("process") and s.facts["correlation_id"] == "good"
    ]
    assert (request.trace, message.trace, message.parent) == (TRACE, TRACE, request.id)
    assert (message.kind, message.failed, message.facts["outcome"]) == (
        "SPAN_KIND_CONSUMER",
        False,
        "emitted",
    )
    assert {s.name for s in told if s.parent == message.id} >= {
        "postgresql UPDATE",
        "HTTP POST",
        "redis XACK",
    }
    records = [r for r in seen["records"] if r["correlation_id"] == "good"]
    assert {r["trace_id"] for r in records} == {TRACE}
    assert [r["span_id"] for r in lines(records)] == [message.id]

    (request,) = [
        s for s in told if s.name == "POST /orders" and s.facts["correlation_id"] == "bad"
    ]
    attempts = [s for s in told if s.parent == request.id and s.name.startswith("process")]
    outcomes = {
        s.facts["attempt"]: (s.facts["outcome"], s.failed, s.facts.get("error.type"))
        for s in attempts
    }
    assert outcomes == {
        1: ("retried", False, None),
        2: ("dead", True, "ReceiptEmissionFailedError"),
    }
    assert all(
        s.parent for s in told if s.name.startswith(("redis", "postgresql"))
    )  # looking for work is no trace


# copier: endif
# copier: if "sentry" in observability
def test_failed_message_is_one_event(seen: dict[str, Any]) -> None:
    """A failure from ERROR on is sent once, with the id of the request; an attempt that is repeated is not."""
    told = Counter(
        (e["level"], e["tags"]["error"], e["tags"].get("correlation_id")) for e in seen["events"]
    )
    assert told == {
        ("error", "ReceiptEmissionFailedError", "bad"): 1,
        ("error", "StoreRefusedError", None): 1,
    }
    (event,) = [e for e in seen["events"] if "correlation_id" in e["tags"]]
    assert event["contexts"]["facts"]["attempt"] == 2


# copier: endif
def test_one_failure_is_one_record(seen: dict[str, Any]) -> None:
    """Whoever looks at a worker, its log stays the same."""
    told = [(r["level"], r["error"]) for r in failures(seen["records"])]
    emission = "ReceiptEmissionFailedError"
    assert told == [("WARNING", emission), ("ERROR", emission), ("ERROR", "StoreRefusedError")]
