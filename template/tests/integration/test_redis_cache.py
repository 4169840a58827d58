"""The cache on a real Redis, which may die."""

import os
from uuid import uuid4

from pydantic import RedisDsn, TypeAdapter

from src.clients.cache import Cache
from src.clients.redis import BaseRedisClient
from src.connectors.redis import RedisConnector
from src.services.readiness import OutageLog
from tests.support.stores import Victim, open_folder

COUNT = TypeAdapter(int)
KEY = "count"


class Counter:
    """Counts how often it is loaded."""

    def __init__(self) -> None:
        self.count = 0

    async def load(self) -> int:
        """Return how often this was called."""
        self.count += 1
        return self.count


async def test_value_is_kept_for_a_time() -> None:
    """It is in Redis, below the prefix, with an end; what is deleted is gone."""
    prefix = f"{os.environ['REDIS_PREFIX']}{uuid4()}:"
    redis = RedisConnector(RedisDsn(os.environ["REDIS_URL"]), 2, 1)
    cache = Cache(BaseRedisClient(redis, prefix), OutageLog())
    counter = Counter()
    assert await cache.cached(KEY, 60, counter.load, COUNT) == 1
    assert await cache.cached(KEY, 60, counter.load, COUNT) == 1
    assert await redis.call("GET", f"{prefix}{KEY}") == b"1"
    assert 0 < await redis.call("TTL", f"{prefix}{KEY}") <= 60
    await cache.forget(KEY)
    assert await redis.call("EXISTS", f"{prefix}{KEY}") == 0
    assert await cache.cached(KEY, 60, counter.load, COUNT) == 2
    await redis.aclose()


async def test_redis_that_dies_is_not_needed() -> None:
    """While Redis is dead values are loaded; once it is back they are cached again."""
    with open_folder() as folder:
        victim = Victim("redis", folder)
        redis = RedisConnector(RedisDsn(victim.start()), 2, 1)
        cache = Cache(BaseRedisClient(redis), OutageLog())
        counter = Counter()
        assert await cache.cached(KEY, 60, counter.load, COUNT) == 1
        victim.kill()
        assert await cache.cached(KEY, 60, counter.load, COUNT) == 2
        assert await cache.cached(KEY, 60, counter.load, COUNT) == 3
        victim.start()
        again = await cache.cached(KEY, 60, counter.load, COUNT)
        assert await cache.cached(KEY, 60, counter.load, COUNT) == again
        await redis.aclose()
        victim.stop()
