"""The metrics of a worker show what it has done, and what it still has to do."""

import asyncio
import logging
import time
from dataclasses import dataclass
from math import isnan

import prometheus_client
import pydantic
import pytest

from dev.ports import free_port
from src.airtight.worker_metrics import Backlog, WorkerRegistry
from src.connectors.redis import RedisConnector
from tests.integration.test_metrics import OF_WORKERS, increases, scrape
from tests.support.failing_orders import (
    EMISSION_FAILED,
    SETTINGS,
    break_stream,
    place_good_and_bad_order,
    stop,
)
from tests.support.orders import Shop, opened

AN_HOUR = 3_600  # seconds
LAG = ("worker_lag_seconds",)
DEAD_LETTERS = ("dead_letters",)
Page = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Pages:
    """What the worker's page showed at three moments.

    Attributes:
        late: after an order was emitted and another one given up, with an old message unread.
        empty: without that message.
        broken: when the stream could not be read.
    """

    late: Page
    empty: Page
    broken: Page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Return what is seen of a worker that has emitted an order, and given up another one."""
    port = free_port()
    settings = SETTINGS | {"WORKER_METRICS_PORT": str(port)}
    with opened(tmp_path_factory.mktemp("shop"), **settings) as shop:
        old_message = add_old_message(shop)
        worker = shop.worker()
        place_good_and_bad_order(shop, worker)
        worker.wait(lambda _: shop.redis("XLEN", shop.stream) == 1)
        worker.url = f"http://127.0.0.1:{port}"
        late = scrape(worker)
        shop.redis("XDEL", shop.stream, old_message)
        empty = scrape(worker)
        break_stream(shop, worker)
        broken = scrape(worker)
        stop(worker)
    return Pages(late, empty, broken)


def add_old_message(shop: Shop) -> str:
    """Add a message that is an hour old and read by nobody, and return its id."""
    milliseconds = time.time_ns() // 1_000_000
    message_id = f"{milliseconds - 1_000 * AN_HOUR}-0"
    shop.redis("XADD", shop.stream, message_id, "order_id", "")
    shop.redis("XGROUP", "CREATE", shop.stream, "workers", "$")
    return message_id


def test_messages_and_errors_are_counted(pages: Pages) -> None:
    """Messages are counted by their outcome, and errors by their class and level."""
    late = pages.late
    messages = increases({}, late, "message_duration_seconds_count")
    assert messages == {("emitted",): 1, ("retried",): 1, ("dead",): 1}
    errors = increases({}, late, "errors_total")
    assert errors == {
        (EMISSION_FAILED, "WARNING"): 1,
        (EMISSION_FAILED, "ERROR"): 1,
    }
    assert {name for name, *_ in late} >= OF_WORKERS


def test_stores_are_shown(pages: Pages) -> None:
    """The page of a worker shows its stores and their pools."""
    late = pages.late
    assert late["store_up", "postgres"] == 1
    assert late["store_up", "redis"] == 1
    assert ("store_pool", "in_use", "redis") in late


def test_lag_and_dead_letters_are_shown(pages: Pages) -> None:
    """The page shows the age of the oldest message, and how many messages were given up."""
    late = pages.late
    assert AN_HOUR <= late[LAG] < 2 * AN_HOUR
    assert late[DEAD_LETTERS] == 1
    empty = pages.empty
    assert empty[LAG] == 0
    assert empty[DEAD_LETTERS] == 1
    broken = pages.broken
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
