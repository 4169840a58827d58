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
from uuid import uuid4

import httpx2
import pytest

from dev.requests import ORDER
from src.clients.order_stream import MAX_LENGTH
from tests.support.orders import Shop, lines, opened, ready, without_coverage
from tests.support.service import ROOT, Record, Service, copy_with, failures, launch
from tests.support.stores import Victim, open_folder

FILL_STREAM = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'not', 'read') end"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """Open a shop of the test's own."""
    with opened(tmp_path) as shop:
        yield shop


@pytest.mark.parametrize(
    "stride", [6, pytest.param(1, marks=pytest.mark.chaos)], ids=["every-sixth", "every"]
)
def test_worker_killed_at_any_step_leaves_nothing_undone_or_done_twice(
    shop: Shop, stride: int
) -> None:
    """Workers are killed at each step of their way; another one finishes what they started."""
    steps = [("_take_turn", step) for step in range(0, 48, stride)]
    steps += [("_handle", step) for step in range(0, 138, stride)]
    command = [sys.executable, "-m", "tests.support.mortal"]
    patient = {"EMISSION_TIMEOUT": "60", "WORKER_CONCURRENCY": "1"}
    env = without_coverage() | shop.env | patient
    orders = []
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=-1, stdout=-3, stderr=-1, text=True
    ) as mortal:
        assert mortal.stdin is not None
        assert mortal.stderr is not None
        for function, step in steps:
            orders += shop.place(f"{function}-{step}")
            mortal.stdin.write(f"{function} {step}\n")
            mortal.stdin.flush()
            assert mortal.stderr.readline() == "9\n"
        mortal.stdin.close()
    locked = shop.count("emitting")
    assert len(steps) > locked > len(steps) / 8
    # As if it were two minutes later: workers with this timeout would announce them only then.
    shop.query("UPDATE orders SET due_at = now() WHERE due_at IS NOT NULL")
    worker = shop.worker()
    worker.wait(lambda _: shop.count() == len(orders), 60)
    shop.assert_settled(*orders)
    worker.wait(lambda _: shop.redis("XPENDING", shop.stream, "workers")["pending"] == 0)
    records = failures(worker.records())
    assert Counter(r["message"] for r in records) == {"stuck emission taken over": locked}


def test_order_that_kills_every_worker_is_given_up(shop: Shop, tmp_path: Path) -> None:
    """An order whose emission kills each worker that tries has no more attempts than others."""
    folder = copy_with(Path(__file__), tmp_path)
    printer = folder / "src" / "clients" / "printer.py"
    marker = "        order = await self._orders.get(order_id)\n"
    deadly = "        __import__('os').kill(__import__('os').getpid(), 9)\n"
    source = printer.read_text(encoding="utf-8")
    assert marker in source
    printer.write_text(source.replace(marker, deadly + marker), encoding="utf-8")
    (order_id,) = shop.place("deadly")
    for _ in range(3):
        worker = launch("-m", "src.worker", cwd=folder, env=shop.env)
        assert worker.wait_for_exit() == -signal.SIGKILL
    survivor = launch("-m", "src.worker", cwd=folder, env=shop.env)
    survivor.wait(lambda records: lines(records, "deadly", outcome="dead"))
    (record,) = failures(survivor.records("deadly"))
    assert survivor.stop() == 0
    assert shop.dead_letters() == 1
    assert (record["level"], record["error"], record["attempt"]) == ("ERROR", "OrderError", 4)
    assert record["order_id"] == order_id


def test_tax_office_that_stays_unreachable_makes_a_dead_letter_in_the_end(tmp_path: Path) -> None:
    """After so many hours an order is given up, with one ERROR; then it can be replayed."""
    with opened(tmp_path, MAX_RETRY_HOURS="0.0005") as shop:
        shop.office.kill()
        worker = shop.worker()
        (order_id,) = shop.place("patient")
        worker.wait(lambda records: lines(records, "patient", outcome="dead"))
        *postponed, last = failures(worker.records("patient"))
        assert {r["level"] for r in postponed} == {"WARNING"}
        assert (last["level"], last["error"]) == ("ERROR", "TaxOfficeUnavailableError")
        assert last["order_id"] == order_id
        assert "httpx2.ConnectError" in last["exception"]
        shop.office.start()
        worker.wait(lambda _: shop.dead_letters() == 1)
        shop.replay(count=1)
        worker.wait(lambda records: lines(records, "patient", outcome="emitted"))
        shop.assert_settled(order_id)


def test_worker_that_is_stopped_finishes_what_it_has_started(shop: Shop) -> None:
    """SIGTERM lets emissions in flight end, and starts no new ones."""
    worker = shop.worker(TAX_OFFICE_TIMEOUT="20", EMISSION_TIMEOUT="30", WORKER_CONCURRENCY="3")
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


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.chaos)])
@pytest.mark.parametrize(
    "workers", [2, *(pytest.param(n, marks=pytest.mark.chaos) for n in (1, 4))]
)
def test_workers_share_the_load(
    shop: Shop, workers: int, count: int, record_property: Callable[[str, object], None]
) -> None:
    """Several workers emit all orders, each once, and none of them does it all."""
    running = [shop.worker(EMISSION_TIMEOUT="30") for _ in range(workers)]
    started = time.perf_counter()
    orders = shop.place(*(f"order-{number}" for number in range(count)))
    emitted: list[list[Record]] = []
    while sum(map(len, emitted)) < count:
        running[0].wait(lambda _: shop.count() == count, 120)
        emitted = [lines(worker.records(), outcome="emitted") for worker in running]
    record_property("orders_a_second", round(count / (time.perf_counter() - started)))
    shop.assert_settled(*orders)
    handled = sorted(line["correlation_id"] for part in emitted for line in part)
    assert handled == sorted(f"order-{number}" for number in range(count))
    assert all(emitted)
    assert [failure for worker in running for failure in failures(worker.records())] == []


def keep_ordering(service: Service, stop: threading.Event) -> list[str]:
    """Place orders, each until it is accepted, and return their numbers."""
    orders = []
    while not stop.is_set():
        key = {"Idempotency-Key": str(uuid4())}
        status = 0
        while status != httpx2.codes.CREATED:
            response = service.request("POST", "/orders", json=ORDER, headers=key)
            status = response.status_code
            assert status in (201, 503), [
                r.get("exception") for r in service.records(response.headers["x-request-id"])
            ]
        orders.append(response.json()["id"])
    return orders


def test_stores_and_tax_office_killed_under_load_lose_nothing(tmp_path: Path) -> None:
    """PostgreSQL, Redis (which forgets all), the tax office and a worker are killed under load."""
    with open_folder() as folder:
        postgres = Victim("postgres", folder)
        redis = Victim("redis", folder)
        victims = [postgres, redis]
        urls = {"DATABASE_URL": postgres.start(), "REDIS_URL": redis.start()}
        alembic = Path(sys.executable).with_name("alembic")
        subprocess.run(
            [alembic, "upgrade", "head"], cwd=ROOT, check=True, env=without_coverage() | urls
        )
        try:
            with opened(tmp_path, **urls, MAX_ATTEMPTS="100") as shop, ThreadPoolExecutor() as pool:
                check_under_load(shop, victims, pool)
        finally:
            for victim in victims:
                victim.stop()


def check_under_load(shop: Shop, victims: list[Victim], pool: ThreadPoolExecutor) -> None:
    service = shop.service()
    workers = [shop.worker() for _ in range(3)]
    stop = threading.Event()
    ordering = pool.submit(keep_ordering, service, stop)
    try:
        for outages, victim in enumerate(victims):
            workers[0].wait(lambda records: lines(records, outcome="emitted"))
            victim.kill()
            workers[0].wait(lambda records, outages=outages: len(outages_in(records)) > outages)  # type: ignore[misc]
            victim.start()
            workers[0].wait(lambda records, outages=outages: len(ready(records)) > outages + 1)  # type: ignore[misc]
        shop.office.kill()
        workers[0].wait(lambda records: lines(records, outcome="retried"))
        shop.office.start()
        workers[2].process.kill()
    finally:
        stop.set()
    orders = ordering.result()
    workers[0].wait(lambda _: shop.count() >= len(orders), 60)
    shop.assert_settled(*orders)
    for worker in workers:
        failed = failures(worker.records())
        assert {r["level"] for r in failed} <= {"WARNING", "ERROR"}
        attempts = Counter((r["message_id"], r["attempt"]) for r in failed if "message_id" in r)
        assert not attempts or max(attempts.values()) == 1
        retried = {
            (r["message_id"], r["attempt"]) for r in lines(worker.records(), outcome="retried")
        }
        without_line = set(attempts) - retried
        was_killed = worker is workers[2]  # perhaps between the two records
        assert len(without_line) <= int(was_killed)
        assert retried <= set(attempts)
    assert {r["error"] for r in failures(service.records())} <= {"PostgresConnectionError"}


def outages_in(records: list[Record]) -> list[Record]:
    """Return the records that say that a worker misses a store."""
    return [r for r in failures(records) if r["correlation_id"] is None]
