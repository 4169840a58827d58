"""Reading and writing in Redis."""

from src.connectors.redis import RedisConnector


class BaseRedisClient:
    """Reads and writes under a prefix, so that services can share a Redis; raises what the connector raises."""

    def __init__(self, connector: RedisConnector, prefix: str = "") -> None:
        self._connector, self._prefix = connector, prefix

    async def read(self, key: str) -> bytes | None:
        """Return the value of a key, None where there is none."""
        value: bytes | None = await self._connector.call("GET", self._prefix + key)
        return value

    async def write(self, key: str, value: bytes, ttl: int) -> None:
        """Store a value for `ttl` seconds."""
        await self._connector.call("SET", self._prefix + key, value, "EX", ttl)
