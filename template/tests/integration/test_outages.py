"""Stores that are away: answered within the timeout, told once, healed without a restart."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx2
import pytest
import redis

from dev.tasks import APPLICATION
from tests.support.service import ROOT, Service, failures, running
from tests.support.stores import Victim, open_folder

TIMEOUT = 1.0  # seconds, for every wait of the service
KILLS = int(os.environ.get("KILLS", "2"))  # of each store, under load
ERRORS = {"postgres": "PostgresConnectionError", "redis": "RedisConnectionError"}


class World(NamedTuple):
    """A service and the stores it depends on."""

    service: Service
    postgres: Victim
    redis: Victim


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A service with short timeouts on stores that tests may kill."""
    with open_folder() as folder:
        yield from world_in(folder)


def world_in(folder: Path) -> Iterator[World]:
    victims = Victim("postgres", folder), Victim("redis", folder)
    urls = {"DATABASE_URL": victims[0].start(), "REDIS_URL": victims[1].start()}
    timeouts = {
        "DATABASE_TIMEOUT": str(TIMEOUT),
        "REDIS_TIMEOUT": str(TIMEOUT),
        "DATABASE_POOL_SIZE": "2",
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", urls["DATABASE_URL"])
        subprocess.run(
            [Path(sys.executable).with_name("alembic"), "upgrade", "head"], cwd=ROOT, check=True
        )
    with running(env=urls | timeouts) as service:
        yield World(service, *victims)
    for victim in victims:
        victim.stop()


def decide(service: Service, **changes: object) -> httpx2.Response:
    """Send an application that was not seen before."""
    decide.amount += 1  # type: ignore[attr-defined]
    amount = decide.amount  # type: ignore[attr-defined]
    body = {**APPLICATION, "amount": amount, **changes}
    return service.request("POST", "/decisions", json=body)


decide.amount = 0  # type: ignore[attr-defined]


def assert_unavailable(service: Service, response: httpx2.Response, store: str) -> None:
    """The answer is a 503 that says when to come back; one ERROR tells which store, and where it is."""
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "127.0.0.1" not in response.text
    (told,) = failures(service.wait_for_request(response.headers["x-request-id"]))
    assert (told["level"], told["error"]) == ("ERROR", ERRORS[store])
    assert told["port"] > 0
    assert response.elapsed.total_seconds() < 10 * TIMEOUT


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_killed_store_is_an_error_until_it_is_back(world: World, store: str) -> None:
    """While a store is dead requests have 503, the first one after its return succeeds."""
    assert decide(world.service).status_code == 201
    victim: Victim = getattr(world, store)
    victim.kill()
    for _ in range(3):
        assert_unavailable(world.service, decide(world.service), store)
    victim.start()
    assert decide(world.service).status_code == 201


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_restart_of_an_idle_store_is_not_noticed(world: World, store: str) -> None:
    """Connections that broke while nobody used them cost no request."""
    assert decide(world.service).status_code == 201
    victim: Victim = getattr(world, store)
    victim.kill()
    victim.start()
    assert [decide(world.service).status_code for _ in range(4)] == [201] * 4


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_frozen_store_is_an_error_within_the_timeout(world: World, store: str) -> None:
    """A store that hangs does not hang the service."""
    assert decide(world.service).status_code == 201
    victim: Victim = getattr(world, store)
    victim.send(signal.SIGSTOP)
    try:
        for _ in range(3):
            assert_unavailable(world.service, decide(world.service), store)
    finally:
        victim.send(signal.SIGCONT)
    assert decide(world.service).status_code == 201


def test_slow_redis_is_an_error_within_the_timeout(world: World) -> None:
    """An answer that takes too long is not waited for."""
    with redis.Redis.from_url(world.redis.url) as other:
        other.client_pause(10_000)
        assert_unavailable(world.service, decide(world.service), "redis")
        world.redis.kill()
    world.redis.start()
    assert decide(world.service).status_code == 201


def test_slow_statements_and_a_full_pool_are_errors_within_the_timeout(world: World) -> None:
    """A locked table makes statements hang; further requests wait for a connection, but not long."""

    async def while_locked() -> list[httpx2.Response]:
        connection = await asyncpg.connect(world.postgres.url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE decisions")
                return await asyncio.gather(
                    *(asyncio.to_thread(decide, world.service) for _ in range(5))
                )
        finally:
            await connection.close()

    for response in asyncio.run(while_locked()):
        assert_unavailable(world.service, response, "postgres")
    assert decide(world.service).status_code == 201


@pytest.mark.parametrize(
    "wrong", [("postgres", "redis"), ("redis", "postgres")], ids=["password-host", "host-password"]
)
def test_wrong_address_is_an_error_of_our_own(world: World, wrong: tuple[str, str]) -> None:
    """With a wrong password or host the service starts, is not ready, and names what it misses, once."""
    urls = {"postgres": world.postgres.url, "redis": world.redis.url}
    passwords = [url.split(":")[2].split("@")[0] for url in urls.values()]
    urls[wrong[0]] = urls[wrong[0]].replace("@", "x@")
    urls[wrong[1]] = urls[wrong[1]].replace("127.0.0.1", "no-such-host.invalid")
    with running(env={"DATABASE_URL": urls["postgres"], "REDIS_URL": urls["redis"]}) as service:
        ready = service.get("/health/ready")
        assert (ready.status_code, ready.json()["stores"]) == (
            503,
            {"postgres": False, "redis": False},
        )
        response = decide(service)
        assert response.status_code == 503
        assert [
            r["error"] for r in failures(service.wait_for_request(response.headers["x-request-id"]))
        ] == [ERRORS["redis"]]
        told = {r["error"] for r in failures(service.records()) if "store" in r}
        assert told == {"PostgresConnectionNotAliveError", "RedisConnectionNotAliveError"}
        assert not [password for password in passwords if password in "".join(service.lines)]


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_nothing_is_lost_while_a_store_dies_again_and_again(world: World, store: str) -> None:
    """Under load every request has a whole answer and one access line, every 503 one ERROR of ours."""
    victim: Victim = getattr(world, store)
    answers, news, over = dict[str, int](), threading.Condition(), threading.Event()

    def keep_asking(worker: int) -> None:
        for number in itertools.count():
            if over.is_set():
                return
            body = {**APPLICATION, "amount": number % 90_000 + 1, "duration_months": 30 + worker}
            headers = {"X-Request-ID": f"{store}-{worker}-{number}"}
            response = world.service.request("POST", "/decisions", json=body, headers=headers)
            assert response.headers["x-request-id"] == headers["X-Request-ID"]
            assert response.json()
            with news:
                answers[headers["X-Request-ID"]] = response.status_code
                news.notify_all()

    def wait_for(status: int) -> None:
        with news:
            enough = Counter(answers.values())[status] + 8
            assert news.wait_for(lambda: Counter(answers.values())[status] >= enough, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(keep_asking, worker) for worker in range(4)]
        try:
            for _ in range(KILLS):
                wait_for(201)
                victim.kill()
                wait_for(503)
                victim.start()
            wait_for(201)
        finally:
            over.set()
    assert [worker.result() for worker in workers] == [None] * 4
    world.service.wait_for_request(list(answers)[-1])
    records = [record for record in world.service.records() if record["correlation_id"] in answers]
    assert {r["correlation_id"]: r["status"] for r in records if r["logger"] == "access"} == answers
    assert sum(r["logger"] == "access" for r in records) == len(answers)
    told = Counter((r["correlation_id"], r["level"], r["error"]) for r in failures(records))
    assert told == Counter(
        (name, "ERROR", ERRORS[store]) for name, status in answers.items() if status == 503
    )
    assert set(answers.values()) == {201, 503}
