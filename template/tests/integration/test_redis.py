"""The connector to Redis, with a real one."""

import asyncio

from src.config import load_settings
from src.connectors.redis import RedisConnector


async def test_pool_is_counted() -> None:
    """Connections in use and idle, and callers that wait, are counted."""
    url = load_settings().redis_url.get_secret_value()
    redis = RedisConnector(url, 1, 5)
    all_in_use = {"in_use": 1, "idle": 0, "waiting": 2}
    assert redis.pool() == {"in_use": 0, "idle": 0, "waiting": 0}
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(3):
            waiting = redis.call("BLPOP", "no-such-list", 0.5)
            group.create_task(waiting)
        while redis.pool() != all_in_use:  # noqa: ASYNC110 - a pool has no event to await
            await asyncio.sleep(0)
    assert redis.pool() == {"in_use": 0, "idle": 1, "waiting": 0}
    await redis.aclose()
