"""The connection to Redis: opened when first used, pooled, every wait bounded."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
from typing import Any

from pydantic import RedisDsn
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse, RedisError, TimeoutError

# copier: if "opentelemetry" in observability
from src.airtight import tracing as traces
# copier: endif
from src.utils.errors import APIError, RedisConnectionError, RedisConnectionNotAliveError, StoreRefusedError


# copier: if false
# isort: on
# fmt: on
# copier: endif
class RedisConnector:
    """A pool of connections; `timeout`, in seconds, bounds the wait for one, for its opening, for an answer."""

    def __init__(self, url: RedisDsn, size: int, timeout: float) -> None:
        once = Retry(
            NoBackoff(), 1, supported_errors=(ConnectionError,)
        )  # over a new connection; no timeout twice
        waits = {"timeout": timeout, "socket_connect_timeout": timeout, "socket_timeout": timeout}
        pool = BlockingConnectionPool.from_url(str(url), max_connections=size, retry=once, **waits)
        self._redis: Any = Redis.from_pool(pool)
        self._address = url.host or "localhost", url.port or 6379

    async def call(self, *command: Any) -> Any:
        """Send a command and return the answer; raises RedisConnectionError, and StoreRefusedError for a refusal."""
        try:
            # copier: if "opentelemetry" in observability
            with traces.client_span("redis", command[0], **{"db.system.name": "redis"}):
                return await self._redis.execute_command(*command)
            # copier: endif
            # copier: if "opentelemetry" not in observability
            return await self._redis.execute_command(*command)
            # copier: endif
        except (ConnectionError, TimeoutError, InvalidResponse) as exc:
            raise RedisConnectionError(*self._address) from exc
        except RedisError as exc:
            raise StoreRefusedError("redis", type(exc).__name__) from exc

    # copier: if "prometheus" in observability
    def pool(self) -> dict[str, int]:
        """Return how many connections are in use and idle, and how many callers wait for one."""
        pool = self._redis.connection_pool
        (idle, _), (in_use, _) = pool.get_connection_count()
        return {"in_use": in_use, "idle": idle, "waiting": len(pool._condition._waiters)}

    # copier: endif
    async def is_alive(self) -> None:
        """Ask for a sign of life; raises RedisConnectionNotAliveError."""
        try:
            await self.call("PING")
        except APIError as exc:
            raise RedisConnectionNotAliveError(*self._address) from exc.__cause__

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()
