"""The connection to PostgreSQL: opened when first used, pooled, every wait bounded."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from pydantic import PostgresDsn

# copier: if "opentelemetry" in observability
from src.airtight import tracing as traces
# copier: endif
from src.utils.errors import APIError, PostgresConnectionError, PostgresConnectionNotAliveError, StoreRefusedError

# copier: if false
# isort: on
# fmt: on
# copier: endif
DRIVER_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)  # and so TimeoutError
REFUSED = asyncpg.PostgresError, asyncpg.InterfaceError
CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
)


class PostgresConnector:
    """A pool of connections; `timeout`, in seconds, bounds the wait for one, for its opening, for a statement."""

    def __init__(self, url: PostgresDsn, size: int, timeout: float) -> None:
        options: dict[str, Any] = {
            "min_size": 0,
            "max_size": size,
            "timeout": timeout,
            "command_timeout": timeout,
        }
        # copier: if "opentelemetry" in observability
        options["init"] = traces.trace_queries
        # copier: endif
        self._pool = asyncpg.create_pool(str(url), **options)
        self._timeout, host = timeout, url.hosts()[0]
        # copier: if "prometheus" in observability
        self._waiting = 0
        # copier: endif
        self._address = (
            (url.path or "/")[1:],
            host["username"] or "",
            host["host"] or "",
            host["port"] or 5432,
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection; raises PostgresConnectionError, and StoreRefusedError for what the server refuses."""
        # copier: if "prometheus" in observability
        self._waiting += 1
        # copier: endif
        try:
            await self._pool  # is opened the first time, without a connection
            connection = await self._pool.acquire(timeout=self._timeout)
        except DRIVER_ERRORS as exc:
            raise PostgresConnectionError(*self._address) from exc
        # copier: if "prometheus" in observability
        finally:
            self._waiting -= 1
        # copier: endif
        try:
            yield connection
        except DRIVER_ERRORS as exc:
            with suppress(
                asyncpg.InterfaceError
            ):  # raised where the pool has taken a lost connection back
                if isinstance(exc, REFUSED) and not (
                    isinstance(exc, CONNECTION_LOST) or connection.is_closed()
                ):
                    raise StoreRefusedError("postgres", type(exc).__name__) from exc
                connection.terminate()  # it may hang, so it is not asked to close
            raise PostgresConnectionError(*self._address) from exc
        finally:
            with suppress(*DRIVER_ERRORS):  # a connection that is lost only now has done its work
                await self._pool.release(connection)

    # copier: if "prometheus" in observability
    def pool(self) -> dict[str, int]:
        """Return how many connections are in use and idle, and how many callers wait for one."""
        idle = self._pool.get_idle_size()
        return {"in_use": self._pool.get_size() - idle, "idle": idle, "waiting": self._waiting}

    # copier: endif
    async def is_alive(self) -> None:
        """Ask for a sign of life; raises PostgresConnectionNotAliveError."""
        try:
            async with self.connection() as connection:
                await connection.execute("SELECT 1")
        except APIError as exc:
            raise PostgresConnectionNotAliveError(*self._address) from exc.__cause__

    async def aclose(self) -> None:
        """Close all connections, busy or not."""
        await self._pool  # one that was never opened cannot be closed
        self._pool.terminate()
