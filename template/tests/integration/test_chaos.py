"""Whatever is killed, and whenever: each order has one receipt, registered once, and each failure one record."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from dev.tasks import ORDER
from tests.support.orders import Shop, lines, opened, without_coverage
from tests.support.service import ROOT, Record, Service, failures
from tests.support.stores import Victim, open_folder


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop of the test's own."""
    with opened(tmp_path) as shop:
        yield shop


@pytest.mark.parametrize(
    "stride", [3, pytest.param(1, marks=pytest.mark.chaos)], ids=["every-third", "every"]
)
def test_worker_killed_at_any_step_leaves_nothing_undone_or_done_twice(
    shop: Shop, stride: int
) -> None:
    """Workers are killed at each step from announcement to acknowledgement; another one ends what they began."""
    steps = [("_turn", step) for step in range(0, 16, stride)] + [
        ("_deal_with", step) for step in range(0, 76, stride)
    ]
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
    assert len(steps) > locked > len(steps) / 3
    worker = shop.worker()
    worker.wait(lambda _: shop.count() == len(orders), 60)
    shop.assert_settled(*orders)
    worker.wait(lambda _: shop.redis("XPENDING", shop.stream, "workers")["pending"] == 0)
    told = failures(worker.records())
    assert Counter(r["message"] for r in told) == {"stuck emission taken over": locked}


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.chaos)])
@pytest.mark.parametrize(
    "workers", [2, *(pytest.param(n, marks=pytest.mark.chaos) for n in (1, 4))]
)
def test_workers_share_the_load(
    shop: Shop, workers: int, count: int, record_property: Callable[[str, object], None]
) -> None:
    """Several workers emit all orders, each once, and none of them does it all."""
    running = [shop.worker(EMISSION_TIMEOUT="30") for _ in range(workers)]
    began = time.perf_counter()
    orders = shop.place(*(f"order-{number}" for number in range(count)))
    emitted: list[list[Record]] = []
    while sum(map(len, emitted)) < count:
        running[0].wait(lambda _: shop.count() == count, 120)
        emitted = [lines(worker.records(), outcome="emitted") for worker in running]
    record_property("orders_a_second", round(count / (time.perf_counter() - began)))
    shop.assert_settled(*orders)
    handled = sorted(line["correlation_id"] for part in emitted for line in part)
    assert handled == sorted(f"order-{number}" for number in range(count))
    assert all(emitted)
    assert [failure for worker in running for failure in failures(worker.records())] == []


def keep_ordering(service: Service, until: list[bool]) -> list[str]:
    """Place orders, each until it is accepted, and return their numbers."""
    orders = []
    while not until:
        key, status = {"Idempotency-Key": str(uuid4())}, 0
        while status != httpx2.codes.CREATED:
            response = service.request("POST", "/orders", json=ORDER, headers=key)
            status = response.status_code
            assert status in (201, 503), [
                r.get("exception") for r in service.records(response.headers["x-request-id"])
            ]
        orders.append(response.json()["id"])
    return orders


def test_stores_and_tax_office_killed_under_load_lose_nothing(tmp_path: Path) -> None:
    """While orders come in PostgreSQL, Redis (which forgets all), the tax office and a worker are killed."""
    with open_folder() as folder:
        victims = Victim("postgres", folder), Victim("redis", folder)
        urls = {"DATABASE_URL": victims[0].start(), "REDIS_URL": victims[1].start()}
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


def check_under_load(shop: Shop, victims: tuple[Victim, ...], pool: ThreadPoolExecutor) -> None:
    service, workers, until = shop.service(), [shop.worker() for _ in range(3)], list[bool]()
    ordering = pool.submit(keep_ordering, service, until)
    try:
        for outages, victim in enumerate(victims):
            workers[0].wait(lambda records: lines(records, outcome="emitted"))
            victim.kill()
            workers[0].wait(lambda records, outages=outages: len(stores_away(records)) > outages)  # type: ignore[misc]
            victim.start()
            workers[0].wait(lambda records, outages=outages: len(ready(records)) > outages + 1)  # type: ignore[misc]
        shop.office.kill()
        workers[0].wait(lambda records: lines(records, outcome="retried"))
        shop.office.start()
        workers[2].process.kill()
    finally:
        until.append(True)
    orders = ordering.result()
    workers[0].wait(lambda _: shop.count() >= len(orders), 60)
    shop.assert_settled(*orders)
    for worker in workers:
        told = failures(worker.records())
        assert {r["level"] for r in told} <= {"WARNING", "ERROR"}
        attempts = Counter((r["message_id"], r["attempt"]) for r in told if "message_id" in r)
        assert not attempts or max(attempts.values()) == 1
        retried = {
            (r["message_id"], r["attempt"]) for r in lines(worker.records(), outcome="retried")
        }
        assert set(attempts) == retried
    assert {r["error"] for r in failures(service.records())} <= {"PostgresConnectionError"}


def stores_away(records: list[Record]) -> list[Record]:
    """Return the records that tell that a worker misses a store."""
    return [r for r in failures(records) if r["correlation_id"] is None]


def ready(records: list[Record]) -> list[Record]:
    """Return the records that tell that a worker has all it needs."""
    return [r for r in records if r["message"] == "worker is ready"]
