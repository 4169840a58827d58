"""The connection to Redis: opened when it is first used, pooled, every wait bounded."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Any

from pydantic import RedisDsn
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, InvalidResponse, RedisError, TimeoutError

from src.airtight import observe_command
from src.config import Settings
from src.utils.errors import (
    APIError,
    RedisConnectionError,
    RedisConnectionNotAliveError,
    StoreRefusedError,
    StoreUnavailableError,
)

CONNECTION_LOST = (ConnectionError, TimeoutError, InvalidResponse, RuntimeError)
# What uvloop raises, as a RuntimeError, about a connection that the server has reset.
TRANSPORT_CLOSED = "the handler is closed"
# The codes of errors that pass, such as a memory that is full, or a replica without its master.
REFUSED_FOR_A_WHILE = {
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
}
# Of these, those with which a new connection may reach another server.
SERVED_ELSEWHERE = {"CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOREPLICAS", "READONLY"}
REFUSAL_LASTS = 5.0  # seconds for which it counts as unavailable, as in `Retry-After`


class ConnectionPool(BlockingConnectionPool):
    """A pool of connections that can be replaced.

    Attributes:
        waiting: the number of callers that wait for a connection.
    """

    waiting = 0

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection as soon as there is one."""
        self.waiting += 1
        try:
            return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self.waiting -= 1

    async def replace_connections(self) -> None:
        """Close the connections: those that are idle now, those in use when they are released."""
        await self.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]
        for connection in self._available_connections:
            await connection.disconnect(nowait=True)


class RedisConnector:
    """A pool of connections to Redis.

    Args:
        url: of the database, with the password.
        size: the largest number of connections.
        timeout: for a connection, and for each response, in seconds.
        observe_command: is called with the name of each command, and returns a context manager in
            which the command runs.
    """

    def __init__(
        self,
        url: RedisDsn,
        size: int,
        timeout: float,
        *,
        observe_command: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        # A second attempt over a new connection costs nothing if Redis was restarted meanwhile.
        # After a timeout there is none: it would double the wait.
        retried: Any = (ConnectionError, RuntimeError)
        self._pool = ConnectionPool.from_url(
            str(url),
            max_connections=size,
            timeout=timeout,
            socket_connect_timeout=timeout,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 1, supported_errors=retried),
        )
        self._redis: Any = Redis.from_pool(self._pool)
        self._observe_command = observe_command
        self._refused_until = 0.0
        self._address: dict[str, Any] = {"host": url.host or "localhost", "port": url.port or 6379}

    async def call(self, *command: Any) -> Any:
        """Send a command and return the response.

        Raises:
            RedisConnectionError: There is no connection, it was lost, or Redis does not respond.
            StoreUnavailableError: Redis refuses the command for a while.
            StoreRefusedError: Redis refuses the command.
        """
        try:
            with self._observe_command(str(command[0])):
                return await self._redis.execute_command(*command)
        except (RedisError, RuntimeError) as exc:
            if isinstance(exc, RuntimeError) and TRANSPORT_CLOSED not in str(exc):
                raise
            if isinstance(exc, TimeoutError) or _code(exc) in SERVED_ELSEWHERE:
                # Idle connections to a server that has died silently would time out one by one.
                await self._pool.replace_connections()
            raise self._translate(exc) from exc

    async def is_alive(self) -> None:
        """Check that Redis can be used; raises RedisConnectionNotAliveError."""
        try:
            if monotonic() < self._refused_until:
                raise StoreUnavailableError("redis", "refused lately")
            await self.call("PING")
        except APIError as exc:
            raise RedisConnectionNotAliveError(**self._address) from (exc.__cause__ or exc)

    def pool(self) -> dict[str, int]:
        """Return the numbers of connections in use and idle, and of callers that wait for one."""
        (idle, _), (in_use, _) = self._pool.get_connection_count()
        return {"in_use": in_use, "idle": idle, "waiting": self._pool.waiting}

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    def _translate(self, exc: Exception) -> APIError:
        code = _code(exc)
        if code in REFUSED_FOR_A_WHILE:
            self._refused_until = monotonic() + REFUSAL_LASTS
            return StoreUnavailableError("redis", code)
        if isinstance(exc, CONNECTION_LOST):
            return RedisConnectionError(**self._address)
        return StoreRefusedError("redis", type(exc).__name__)


def _code(exc: Exception) -> str:
    """Return the code with which Redis has refused a command; the driver removes some."""
    code: str | None = getattr(exc, "status_code", None)
    return code or str(exc).partition(" ")[0]


def connect_redis(settings: Settings) -> RedisConnector:
    """Return a connector to Redis, as the settings say."""
    return RedisConnector(
        settings.redis_url.get_secret_value(),
        settings.redis_pool_size,
        settings.redis_timeout,
        observe_command=observe_command,
    )
