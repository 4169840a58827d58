"""Reading and writing in Redis."""

from src.connectors.redis import RedisConnector


class BaseRedisClient:
    """Reads, writes and deletes values; raises what the connector raises.

    Args:
        connector: to Redis.
        prefix: of all keys, so that services can share a Redis.
    """

    def __init__(self, connector: RedisConnector, prefix: str = "") -> None:
        self._connector = connector
        self._prefix = prefix

    async def read(self, key: str) -> bytes | None:
        """Return the value of a key; None where there is none."""
        value: bytes | None = await self._connector.call("GET", self._prefix + key)
        return value

    async def write(self, key: str, value: bytes, ttl: int) -> None:
        """Store a value for `ttl` seconds."""
        await self._connector.call("SET", self._prefix + key, value, "EX", ttl)

    async def delete(self, key: str) -> None:
        """Delete the value of a key, if there is one."""
        await self._connector.call("DEL", self._prefix + key)
