"""Stores that are unavailable: handled within the timeout, logged once, healed without a restart."""

import asyncio
import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx2
import pytest
import redis

from dev.requests import APPLICATION
from tests.support.migrations import migrate
from tests.support.service import Record, Service, failures, running
from tests.support.stores import Victim, open_folder

TIMEOUT = 1.0  # seconds, for every wait of the service
KILLS = int(os.environ.get("KILLS", "2"))  # of each store, under load
PAUSE = 0.01  # seconds between the response to a client under load and its next request
POSTGRES_ERRORS = {"PostgresConnectionError", "PostgresTimeoutError"}
REDIS_ERRORS = {"RedisConnectionError", "RedisConnectionNotAliveError"}
AMOUNTS = itertools.count(1)  # so that no application was seen before


@dataclass
class World:
    """A service and the stores it depends on."""

    service: Service
    postgres: Victim
    redis: Victim

    def decide(self) -> httpx2.Response:
        """Send an application that was not seen before."""
        body = {**APPLICATION, "amount": next(AMOUNTS)}
        return self.service.request("POST", "/decisions", json=body)

    def store(self, name: str) -> Victim:
        """Return a store by its name."""
        victim: Victim = getattr(self, name)
        return victim

    def wait_for_redis_records(self, count: int) -> None:
        """Wait until there are so many records about outages of Redis."""
        self.service.wait(lambda _: len(self.redis_records()) >= count)

    def redis_records(self) -> list[Record]:
        """Return the records about the start (ERROR) and the end (INFO) of outages of Redis."""
        return [r for r in self.service.records() if r.get("store") == "redis"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A service with short timeouts on stores that tests may kill."""
    with open_folder() as folder:
        yield from world_in(folder)


def world_in(folder: Path) -> Iterator[World]:
    postgres = Victim("postgres", folder)
    victim_redis = Victim("redis", folder)
    settings = {
        "DATABASE_URL": postgres.start(),
        "REDIS_URL": victim_redis.start(),
        "DATABASE_TIMEOUT": str(TIMEOUT),
        "REDIS_TIMEOUT": str(TIMEOUT),
        "DATABASE_POOL_SIZE": "2",
    }
    migrate(postgres.url)
    with running(env=settings) as service:
        yield World(service, postgres, victim_redis)
    postgres.stop()
    victim_redis.stop()


def assert_unavailable(world: World, response: httpx2.Response) -> None:
    """PostgreSQL is needed: 503 that says when to come back, and one ERROR that says where it is."""
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert "127.0.0.1" not in response.text
    records = world.service.wait_for_request(response.headers["x-request-id"])
    (failure,) = failures(records)
    assert failure["level"] == "ERROR"
    assert failure["error"] in POSTGRES_ERRORS
    assert failure["port"] > 0
    assert response.elapsed.total_seconds() < 10 * TIMEOUT


def assert_decided(world: World, response: httpx2.Response) -> None:
    """The decision was made in time."""
    assert response.status_code == 201
    assert response.elapsed.total_seconds() < 10 * TIMEOUT
    world.service.wait_for_request(response.headers["x-request-id"])


def assert_redis_ready(world: World, *, expected: bool) -> None:
    """The probe says whether Redis can be used, and that PostgreSQL can."""
    response = world.service.get("/health/ready")
    assert response.status_code == (200 if expected else 503)
    assert response.json()["stores"] == {"postgres": True, "redis": expected}


class Outage:
    """Collects what is logged about Redis from now on.

    Args:
        world: with the service that logs it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._before = len(world.redis_records())

    def assert_logged_once(self) -> None:
        """The outage began with one ERROR of our own class, and is over."""
        self._world.service.wait(lambda _: len(self._records()) > 1)
        records = self._records()
        assert [record["level"] for record in records] == ["ERROR", "INFO"]
        assert records[0]["error"] in REDIS_ERRORS
        assert records[0]["port"] > 0

    def _records(self) -> list[Record]:
        return self._world.redis_records()[self._before :]


def test_killed_postgres_is_an_error_until_it_is_back(world: World) -> None:
    """While PostgreSQL is dead requests have 503, the first one after its return succeeds."""
    assert world.decide().status_code == 201
    world.postgres.kill()
    for _ in range(3):
        assert_unavailable(world, world.decide())
    world.postgres.start()
    assert world.decide().status_code == 201


def test_decisions_are_made_while_redis_is_dead(world: World) -> None:
    """Redis only caches: without it decisions are made, the probe says so, and one ERROR."""
    assert world.decide().status_code == 201
    outage = Outage(world)
    world.redis.kill()
    for _ in range(3):
        assert_decided(world, world.decide())
        assert_redis_ready(world, expected=False)
    world.redis.start()
    assert_decided(world, world.decide())
    assert_redis_ready(world, expected=True)
    outage.assert_logged_once()
    with redis.Redis.from_url(world.redis.url) as other:
        assert other.keys() != []


@pytest.mark.parametrize("store", ["postgres", "redis"])
def test_restart_of_an_idle_store_is_not_noticed(world: World, store: str) -> None:
    """Connections that broke while nobody used them cost no request, and no record."""
    assert world.decide().status_code == 201
    before = len(failures(world.service.records()))
    world.store(store).kill()
    world.store(store).start()
    for _ in range(4):
        assert_decided(world, world.decide())
    assert failures(world.service.records())[before:] == []


def test_frozen_postgres_is_an_error_within_the_timeout(world: World) -> None:
    """A PostgreSQL that hangs does not hang the service."""
    assert world.decide().status_code == 201
    world.postgres.send(signal.SIGSTOP)
    try:
        for _ in range(2):
            assert_unavailable(world, world.decide())
    finally:
        world.postgres.send(signal.SIGCONT)
    assert world.decide().status_code == 201


def test_decisions_are_made_while_redis_is_frozen(world: World) -> None:
    """A Redis that hangs is waited for within the timeout, and not needed."""
    assert world.decide().status_code == 201
    outage = Outage(world)
    world.redis.send(signal.SIGSTOP)
    try:
        for _ in range(2):
            assert_decided(world, world.decide())
        assert_redis_ready(world, expected=False)
    finally:
        world.redis.send(signal.SIGCONT)
    assert_decided(world, world.decide())
    assert_redis_ready(world, expected=True)
    outage.assert_logged_once()


def test_decisions_are_made_while_redis_is_slow(world: World) -> None:
    """A response that takes too long is not waited for."""
    outage = Outage(world)
    with redis.Redis.from_url(world.redis.url) as other:
        other.client_pause(10_000)
        assert_decided(world, world.decide())
        world.redis.kill()
    world.redis.start()
    assert_decided(world, world.decide())
    outage.assert_logged_once()


def test_slow_statements_and_a_full_pool_are_errors_within_the_timeout(world: World) -> None:
    """A locked table makes statements hang, and further requests wait for a connection."""

    async def while_locked() -> list[httpx2.Response]:
        connection = await asyncpg.connect(world.postgres.url)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE decisions")
                return await asyncio.gather(*(asyncio.to_thread(world.decide) for _ in range(5)))
        finally:
            await connection.close()

    for response in asyncio.run(while_locked()):
        assert_unavailable(world, response)
    assert world.decide().status_code == 201


@dataclass(frozen=True)
class WrongUrls:
    """URLs of stores that do not work, and the passwords that they hold."""

    settings: dict[str, str]
    passwords: list[str]


def wrong_urls(world: World, wrong_password: str, unknown_host: str) -> WrongUrls:
    """Return the URLs of the stores, one with a wrong password, one with an unknown host."""
    urls = {"postgres": world.postgres.url, "redis": world.redis.url}
    passwords = [url.split(":")[2].split("@")[0] for url in urls.values()]
    urls[wrong_password] = urls[wrong_password].replace("@", "x@")
    urls[unknown_host] = urls[unknown_host].replace("127.0.0.1", "no-such-host.invalid")
    settings = {"DATABASE_URL": urls["postgres"], "REDIS_URL": urls["redis"]}
    return WrongUrls(settings, passwords)


@pytest.mark.parametrize(
    "wrong", [("postgres", "redis"), ("redis", "postgres")], ids=["password-host", "host-password"]
)
def test_wrong_address_is_an_error_of_our_own(world: World, wrong: tuple[str, str]) -> None:
    """With a wrong password or host the service starts, is not ready, and names what is missing."""
    urls = wrong_urls(world, *wrong)
    with running(env=urls.settings) as service:
        ready = service.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["stores"] == {"postgres": False, "redis": False}
        response = World(service, world.postgres, world.redis).decide()
        assert response.status_code == 503
        records = service.wait_for_request(response.headers["x-request-id"])
        assert [r["error"] for r in failures(records)] == ["PostgresConnectionError"]
        errors = sorted(r["error"] for r in failures(service.records()) if "store" in r)
        assert errors == ["PostgresConnectionNotAliveError", "RedisConnectionNotAliveError"]
        log = "".join(service.lines)
        assert [password for password in urls.passwords if password in log] == []


@dataclass
class Load:
    """Requests of several clients at once, with the status of each by its id."""

    world: World
    statuses: dict[str, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    def send_requests(self, client: str) -> None:
        """Send requests until the load is over; each has a whole response with its own id."""
        for number in itertools.count():
            if self.over.wait(PAUSE):
                return
            body = {**APPLICATION, "amount": next(AMOUNTS)}
            headers = {"X-Request-ID": f"{client}-{number}"}
            response = self.world.service.request("POST", "/decisions", json=body, headers=headers)
            assert response.headers["x-request-id"] == headers["X-Request-ID"]
            assert response.json()
            with self.changed:
                self.statuses[headers["X-Request-ID"]] = response.status_code
                self.changed.notify_all()

    def wait_for(self, status: int) -> None:
        """Wait until eight more requests have this status."""
        with self.changed:
            enough = self.count(status) + 8
            assert self.changed.wait_for(lambda: self.count(status) >= enough, timeout=60)

    def count(self, status: int) -> int:
        """Return how many requests have this status so far."""
        return Counter(self.statuses.values())[status]

    def records(self) -> list[Record]:
        """Return the records of all requests, once the last of them has finished."""
        self.world.service.wait_for_request(list(self.statuses)[-1])
        records = self.world.service.records()
        return [record for record in records if record["correlation_id"] in self.statuses]


def kill_postgres(load: Load) -> None:
    """Kill PostgreSQL again and again, while requests go on."""
    for _ in range(KILLS):
        load.wait_for(201)
        load.world.postgres.kill()
        load.wait_for(503)
        load.world.postgres.start()
    load.wait_for(201)


def kill_redis(load: Load) -> None:
    """Kill Redis again and again, while requests go on."""
    world = load.world
    for _ in range(KILLS):
        load.wait_for(201)
        before = len(world.redis_records())
        world.redis.kill()
        world.wait_for_redis_records(before + 1)
        load.wait_for(201)
        world.redis.start()
        world.wait_for_redis_records(before + 2)


def run_under_load(world: World, store: str) -> Load:
    """Let four clients send requests while a store is killed again and again."""
    load = Load(world)
    kill = {"postgres": kill_postgres, "redis": kill_redis}[store]
    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(load.send_requests, f"{store}-{client}") for client in range(4)]
        try:
            kill(load)
        finally:
            load.over.set()
    assert [client.result() for client in clients] == [None] * 4
    return load


def assert_one_access_line_each(load: Load, records: list[Record]) -> None:
    """Each request has one access line, with the status that the client has seen."""
    lines = [record for record in records if record["logger"] == "access"]
    assert {line["correlation_id"]: line["status"] for line in lines} == load.statuses
    assert len(lines) == len(load.statuses)


def test_nothing_is_lost_while_postgres_dies_again_and_again(world: World) -> None:
    """Under load each request has one access line, and each 503 one ERROR of our own."""
    load = run_under_load(world, "postgres")
    records = load.records()
    assert_one_access_line_each(load, records)
    assert set(load.statuses.values()) == {201, 503}
    assert {record["error"] for record in failures(records)} <= POSTGRES_ERRORS
    logged = Counter((r["correlation_id"], r["level"]) for r in failures(records))
    failed = [name for name, status in load.statuses.items() if status == 503]
    assert logged == Counter((name, "ERROR") for name in failed)


def test_no_decision_is_lost_while_redis_dies_again_and_again(world: World) -> None:
    """Under load every decision is made, and each outage of the cache is one ERROR."""
    before = len(world.redis_records())
    load = run_under_load(world, "redis")
    records = load.records()
    assert_one_access_line_each(load, records)
    assert set(load.statuses.values()) == {201}
    about_redis = world.redis_records()[before:]
    assert [record["level"] for record in about_redis] == ["ERROR", "INFO"] * KILLS
    assert failures(about_redis) == failures(records)
    assert {record["error"] for record in failures(records)} <= REDIS_ERRORS
