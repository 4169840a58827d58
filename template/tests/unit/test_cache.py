"""A cache saves loads, and stands in the way of none."""

import asyncio
import logging
from typing import Any

import pytest
from pydantic import TypeAdapter

from src.clients.cache import Cache
from src.clients.redis import BaseRedisClient
from src.services.readiness import OutageLog
from src.utils.errors import APIError, RedisConnectionError, StoreRefusedError

NUMBERS = TypeAdapter(list[int])
AWAY = RedisConnectionError("cache", 6379)
KEY = "numbers"


class FakeRedis(BaseRedisClient):
    """Stores values in memory, and may fail."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.failure: APIError | None = None
        self.reads = 0

    async def read(self, key: str) -> bytes | None:
        self.reads += 1
        self._fail()
        return self.values.get(key)

    async def write(self, key: str, value: bytes, ttl: int) -> None:
        self._fail()
        self.values[key] = value

    async def delete(self, key: str) -> None:
        self._fail()
        self.values.pop(key, None)

    def _fail(self) -> None:
        if self.failure:
            raise self.failure


class Loader:
    """Loads a number that grows, and waits or fails first if it is told to."""

    def __init__(self) -> None:
        self.count = 0
        self.failure: Exception | None = None
        self.may_finish = asyncio.Event()
        self.may_finish.set()

    async def load(self) -> list[int]:
        """Return how often this was called."""
        self.count += 1
        count = self.count
        await self.may_finish.wait()
        if self.failure:
            raise self.failure
        return [count]


class World:
    """A cache, what it caches, and where."""

    def __init__(self) -> None:
        self.redis = FakeRedis()
        self.loader = Loader()
        self.cache = Cache(self.redis, OutageLog())

    async def get(self) -> list[int]:
        """Return the numbers, cached or loaded."""
        return await self.cache.cached(KEY, 60, self.loader.load, NUMBERS)

    async def start(self, count: int) -> list[asyncio.Task[list[int]]]:
        """Let callers wait for a load that has begun, and does not finish."""
        self.loader.may_finish.clear()
        callers = [asyncio.create_task(self.get()) for _ in range(count)]
        while not self.loader.count:  # noqa: ASYNC110 - the loader is called soon
            await asyncio.sleep(0)
        return callers


@pytest.fixture
def world() -> World:
    """A cache that is empty."""
    return World()


async def test_value_is_loaded_once(world: World) -> None:
    """What was loaded before is not loaded again."""
    assert [await world.get(), await world.get()] == [[1], [1]]
    assert world.redis.values == {KEY: b"[1]"}


async def test_one_of_many_callers_loads(world: World) -> None:
    """A hundred callers at once cost one load and one read, and each has the value."""
    callers = await world.start(100)
    world.loader.may_finish.set()
    async with asyncio.timeout(30):
        values = await asyncio.gather(*callers)
    assert values == [[1]] * 100
    assert world.redis.reads == 1


async def test_caller_that_leaves_does_not_stop_the_others(world: World) -> None:
    """Where the caller that came first is cancelled, the others still get the value."""
    first, *others = await world.start(3)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    world.loader.may_finish.set()
    async with asyncio.timeout(30):
        assert await asyncio.gather(*others) == [[1], [1]]
    assert world.loader.count == 1


async def test_load_that_fails_is_not_cached(world: World) -> None:
    """Each caller has the error of the load, and the next one loads again."""
    world.loader.failure = KeyError("a bug")
    callers = await world.start(3)
    world.loader.may_finish.set()
    results: list[Any] = await asyncio.gather(*callers, return_exceptions=True)
    assert results == [world.loader.failure] * 3
    world.loader.failure = None
    assert await world.get() == [2]


async def test_nothing_is_cached_can_be_cached(world: World) -> None:
    """A value of None is a value."""
    adapter: TypeAdapter[int | None] = TypeAdapter(int | None)
    loads = 0

    async def load() -> int | None:
        nonlocal loads
        loads += 1
        return None

    for _ in range(2):
        assert await world.cache.cached(KEY, 60, load, adapter) is None
    assert loads == 1


async def test_redis_that_is_away_is_not_needed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Values are loaded, each time; an outage is one ERROR, its end one INFO."""
    caplog.set_level(logging.INFO)
    world.redis.failure = AWAY
    assert [await world.get(), await world.get()] == [[1], [2]]
    await world.cache.forget(KEY)
    world.redis.failure = None
    assert [await world.get(), await world.get()] == [[3], [3]]
    await world.cache.forget(KEY)
    records = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert records == [
        ("ERROR", "store is unavailable"),
        ("INFO", "store is available again"),
    ]


async def test_redis_that_refuses_to_write_is_not_needed(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A value that cannot be written is returned all the same."""

    async def refuse(key: str, value: bytes, ttl: int) -> None:
        raise AWAY

    world.redis.write = refuse  # type: ignore[method-assign]
    assert [await world.get(), await world.get()] == [[1], [2]]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("text", [b"", b"\xff", b"{", b'["x"]', b"null"])
async def test_value_that_is_not_valid_counts_as_none(
    world: World, caplog: pytest.LogCaptureFixture, text: bytes
) -> None:
    """What cannot be what was written is logged, loaded and replaced."""
    world.redis.values[KEY] = text
    assert await world.get() == [1]
    assert world.redis.values == {KEY: b"[1]"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_value_that_cannot_be_read_counts_as_none(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """So is one of another type, which Redis refuses to return."""
    world.redis.failure = StoreRefusedError("redis", "ResponseError")
    assert await world.get() == [1]
    levels = [record.levelname for record in caplog.records]
    assert levels[0] == "WARNING"


async def test_value_that_has_changed_is_loaded_again(world: World) -> None:
    """What was forgotten is loaded anew."""
    assert await world.get() == [1]
    await world.cache.forget(KEY)
    assert await world.get() == [2]


async def test_value_that_changes_while_it_is_loaded_is_not_cached(world: World) -> None:
    """A load that began before the change does not bring the old value back."""
    (early,) = await world.start(1)
    await world.cache.forget(KEY)
    world.loader.may_finish.set()
    assert await early == [1]
    assert world.redis.values == {}
    assert await world.get() == [2]
