"""Whatever is killed, and whenever: each order has one receipt, and each failure one record."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import redis

from dev.requests import ORDER
from src.clients.order_stream import MAX_LENGTH
from tests.support.orders import Shop, lines, opened, ready, without_coverage
from tests.support.service import (
    ROOT,
    Record,
    Service,
    assert_fields,
    copy_with,
    failures,
    launch,
    levels,
    request_id,
)
from tests.support.stores import Victim, open_folder

PATIENT = {"EMISSION_TIMEOUT": "60", "WORKER_CONCURRENCY": "1"}
READ_ORDER = "        order = await self._orders.get(order_id)\n"
EXIT = "        __import__('os').kill(__import__('os').getpid(), 9)\n"
FILL_STREAM = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'not', 'read') end"


def only_in_chaos(value: int) -> Any:
    """Return a parameter with which a test runs only in the long chaos tests."""
    return pytest.param(value, marks=pytest.mark.chaos)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Open a shop of the test's own."""
    with opened(tmp_path) as shop:
        yield shop


@pytest.mark.parametrize("stride", [6, only_in_chaos(1)], ids=["every-sixth", "every"])
def test_worker_killed_at_any_step_leaves_nothing_undone_or_done_twice(
    shop: Shop, stride: int
) -> None:
    """Workers are killed at each step of their way; another one finishes what they started."""
    steps = [("_handle", step) for step in range(0, 138, stride)]
    # These come last: who dies while orders are announced leaves messages that are read first.
    steps += [("_take_turn", step) for step in range(0, 48, stride)]
    orders = kill_workers_at(steps, shop)
    locked = shop.count("emitting")
    assert len(steps) > locked > len(steps) / 8
    pretend_that_time_passes(shop)
    worker = shop.worker(TAX_OFFICE_TIMEOUT="20", EMISSION_TIMEOUT="30")
    worker.wait(lambda _: shop.count() == len(orders), 60)
    shop.assert_settled(*orders)
    worker.wait(lambda _: pending_messages(shop) == 0)
    messages = Counter(record["message"] for record in failures(worker.records()))
    assert messages == {"stuck emission taken over": locked}


def kill_workers_at(steps: list[tuple[str, int]], shop: Shop) -> list[str]:
    """Place an order for each step at which a worker is killed, and return the orders."""
    mortal = subprocess.Popen(
        [sys.executable, "-m", "tests.support.mortal"],
        cwd=ROOT,
        env=without_coverage() | shop.env | PATIENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    orders: list[str] = []
    with mortal:
        assert mortal.stdin is not None
        assert mortal.stderr is not None
        for function, step in steps:
            orders += shop.place(f"{function}-{step}")
            mortal.stdin.write(f"{function} {step}\n")
            mortal.stdin.flush()
            assert mortal.stderr.readline() == f"{signal.SIGKILL:d}\n"
        mortal.stdin.close()
    return orders


def pending_messages(shop: Shop) -> int:
    """Return how many messages are read but not acknowledged."""
    summary = shop.redis("XPENDING", shop.stream, "workers")
    return int(summary["pending"])


def pretend_that_time_passes(shop: Shop) -> None:
    """Make it look two minutes later: only then do workers take over what is stuck."""
    shop.query("UPDATE orders SET due_at = now() WHERE due_at IS NOT NULL")
    shop.query("UPDATE orders SET changed_at = changed_at - interval '2 minutes'")
    with redis.Redis.from_url(shop.env["REDIS_URL"]) as client:
        pending = client.xpending_range(shop.stream, "workers", "-", "+", 1_000)
        ids = [message["message_id"] for message in pending]
        client.xclaim(shop.stream, "workers", "worker", 0, ids, idle=120_000, justid=True)


def test_order_that_kills_every_worker_is_given_up(shop: Shop, tmp_path: Path) -> None:
    """An order whose emission kills each worker that tries has no more attempts than others."""
    folder = copy_with(Path(__file__), tmp_path)
    printer = folder / "src" / "clients" / "printer.py"
    source = printer.read_text(encoding="utf-8")
    assert READ_ORDER in source
    deadly = source.replace(READ_ORDER, EXIT + READ_ORDER)
    printer.write_text(deadly, encoding="utf-8")
    (order_id,) = shop.place("deadly")
    for _ in range(3):
        worker = launch("-m", "src.worker", cwd=folder, env=shop.env)
        assert worker.wait_for_exit() == -signal.SIGKILL
        pretend_that_time_passes(shop)
    survivor = launch("-m", "src.worker", cwd=folder, env=shop.env)
    survivor.wait(lambda records: lines(records, "deadly", outcome="dead"))
    (record,) = failures(survivor.records("deadly"))
    assert survivor.stop() == 0
    assert shop.dead_letters() == 1
    assert_fields(
        record,
        level="ERROR",
        error="OrderError",
        attempt=4,
        order_id=order_id,
    )


def test_tax_office_that_stays_unreachable_makes_a_dead_letter_in_the_end(tmp_path: Path) -> None:
    """After so many hours an order is given up, with one ERROR; then it can be replayed."""
    with opened(tmp_path, MAX_RETRY_HOURS="0.0005") as shop:
        shop.office.kill()
        worker = shop.worker()
        (order_id,) = shop.place("patient")
        worker.wait(lambda records: lines(records, "patient", outcome="dead"))
        *postponed, last = failures(worker.records("patient"))
        assert set(levels(postponed)) == {"WARNING"}
        assert_fields(
            last,
            level="ERROR",
            error="TaxOfficeUnavailableError",
            order_id=order_id,
        )
        assert "ConnectError" in last["exception"]  # of this attempt, or of what opened the circuit
        worker.wait(lambda _: shop.dead_letters() == 1)
        assert worker.stop() == 0
        shop.office.start()
        shop.replay(count=1)
        successor = shop.worker()  # to which the tax office has not failed yet
        successor.wait(lambda records: lines(records, "patient", outcome="emitted"))
        shop.assert_settled(order_id)


def test_worker_that_is_stopped_finishes_what_it_has_started(shop: Shop) -> None:
    """After SIGTERM emissions in flight finish, and no new ones start."""
    worker = shop.worker(
        TAX_OFFICE_TIMEOUT="20",
        EMISSION_TIMEOUT="30",
        WORKER_CONCURRENCY="3",
    )
    shop.office.mode("late")
    orders = shop.place("first", "second", "third")
    worker.wait(lambda _: len(shop.office.registered()) == len(orders))
    assert shop.count("emitting") > 0
    assert worker.stop(signal.SIGTERM) == 0
    shop.assert_settled(*orders)
    assert failures(worker.records()) == []
    assert worker.records()[-1]["message"] == "worker stopped"


def test_stream_is_not_filled_without_bound(shop: Shop) -> None:
    """While many messages wait in Redis no more orders are announced; they wait in PostgreSQL."""
    shop.redis("XGROUP", "CREATE", shop.stream, "workers", "0", "MKSTREAM")
    shop.redis("EVAL", FILL_STREAM, 1, shop.stream, MAX_LENGTH)
    shop.redis("XGROUP", "SETID", shop.stream, "workers", "$")
    (order_id,) = shop.place("later")
    worker = shop.worker()
    assert shop.redis("XLEN", shop.stream) == MAX_LENGTH
    assert shop.count("new") == 1
    shop.redis("XTRIM", shop.stream, "MAXLEN", "1")
    worker.wait(lambda records: lines(records, "later", outcome="emitted"))
    shop.assert_settled(order_id)


@pytest.mark.parametrize("count", [100, only_in_chaos(1000)])
@pytest.mark.parametrize("workers", [2, only_in_chaos(1), only_in_chaos(4)])
def test_workers_share_the_load(
    shop: Shop,
    workers: int,
    count: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Several workers emit all orders, each once, and none of them does it all."""
    # On a machine with other work, the tax office may take longer than usual.
    patient = {"EMISSION_TIMEOUT": "30", "TAX_OFFICE_TIMEOUT": "20"}
    running = [shop.worker(**patient) for _ in range(workers)]
    started = time.perf_counter()
    names = [f"order-{number}" for number in range(count)]
    orders = shop.place(*names)
    emitted: list[list[Record]] = []
    while sum(map(len, emitted)) < count:
        running[0].wait(lambda _: shop.count() == count, 120)
        emitted = [lines(worker.records(), outcome="emitted") for worker in running]
    seconds = time.perf_counter() - started
    record_property("orders_a_second", round(count / seconds))
    shop.assert_settled(*orders)
    handled: list[str] = []
    for part in emitted:
        assert part
        handled.extend(line["correlation_id"] for line in part)
    assert sorted(handled) == sorted(names)
    for worker in running:
        assert failures(worker.records()) == []


def place_until_stopped(service: Service, stop: threading.Event) -> list[str]:
    """Place orders, each until it is accepted, and return their numbers."""
    orders = []
    while not stop.is_set():
        response = place_until_accepted(service)
        orders.append(response.json()["id"])
    return orders


def place_until_accepted(service: Service) -> httpx2.Response:
    """Place one order, again and again while the service is unavailable."""
    headers = {"Idempotency-Key": str(uuid4())}
    while True:
        response = service.request("POST", "/orders", json=ORDER, headers=headers)
        if response.status_code == 201:
            return response
        records = service.records(request_id(response))
        assert response.status_code == 503, records


def test_stores_and_tax_office_killed_under_load_lose_nothing(tmp_path: Path) -> None:
    """PostgreSQL, Redis (which forgets all), the tax office and a worker are killed under load."""
    with open_folder() as folder:
        postgres = Victim("postgres", folder)
        redis = Victim("redis", folder)
        urls = {
            "DATABASE_URL": postgres.start(),
            "REDIS_URL": redis.start(),
        }
        try:
            migrate(urls)
            settings = urls | {"MAX_ATTEMPTS": "100"}
            with opened(tmp_path, **settings) as shop:
                check_under_load(shop, [postgres, redis])
        finally:
            postgres.stop()
            redis.stop()


def migrate(urls: dict[str, str]) -> None:
    """Bring a new database to the newest revision."""
    alembic = Path(sys.executable).with_name("alembic")
    env = without_coverage() | urls
    subprocess.run([alembic, "upgrade", "head"], cwd=ROOT, check=True, env=env)


def check_under_load(shop: Shop, victims: list[Victim]) -> None:
    """Kill everything once while orders are placed, and assert that nothing is lost."""
    service = shop.service()
    survivor = shop.worker()
    second = shop.worker()
    killed = shop.worker()
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        placing = pool.submit(place_until_stopped, service, stop)
        try:
            for victim in victims:
                kill_and_restart(victim, survivor)
            shop.office.kill()
            survivor.wait(lambda records: lines(records, outcome="retried"))
            shop.office.start()
            killed.process.kill()
        finally:
            stop.set()
        orders = placing.result()
    survivor.wait(lambda _: shop.count() >= len(orders), 60)
    shop.assert_settled(*orders)
    for worker in (survivor, second):
        assert_one_record_an_attempt(worker, without_line=0)
    # It may have been killed between the two records of an attempt.
    assert_one_record_an_attempt(killed, without_line=1)
    for record in failures(service.records()):
        assert record["error"] == "PostgresConnectionError"


def kill_and_restart(victim: Victim, worker: Service) -> None:
    """Kill a store and start it again, and wait until a worker has logged both."""
    outages = len(outages_in(worker.records()))
    starts = len(ready(worker.records()))
    worker.wait(lambda records: lines(records, outcome="emitted"))
    victim.kill()
    worker.wait(lambda records: len(outages_in(records)) > outages)
    victim.start()
    worker.wait(lambda records: len(ready(records)) > starts)


def assert_one_record_an_attempt(worker: Service, without_line: int) -> None:
    """Assert that each failed attempt has one record and one line.

    Args:
        worker: the worker that has tried.
        without_line: how many attempts at most have a record but no line.
    """
    records = worker.records()
    failed = failures(records)
    assert set(levels(failed)) <= {"WARNING", "ERROR"}
    attempts = [attempt(record) for record in failed if "message_id" in record]
    retried = {attempt(line) for line in lines(records, outcome="retried")}
    assert len(attempts) == len(set(attempts))
    assert retried <= set(attempts)
    assert len(set(attempts) - retried) <= without_line


def attempt(record: Record) -> tuple[str, int]:
    """Return which attempt at which message a record is about."""
    return record["message_id"], record["attempt"]


def outages_in(records: list[Record]) -> list[Record]:
    """Return the records that say that a store is unavailable for a worker."""
    return [record for record in failures(records) if record["correlation_id"] is None]
