"""The connection to PostgreSQL: opened when it is first used, pooled, every wait bounded."""

import asyncio
import random
import re
import traceback
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from types import FrameType
from typing import Any, Literal, Protocol, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from pydantic import PostgresDsn

from src.airtight import observe_connection
from src.config import Settings
from src.utils.errors import (
    APIError,
    PostgresConnectionError,
    PostgresConnectionNotAliveError,
    PostgresTimeoutError,
    StoreRefusedError,
    StoreUnavailableError,
    TransactionConflictError,
)
from src.utils.postgres_url import postgres_options

# OSError includes TimeoutError.
DRIVER_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
CONNECTION_LOST = (
    OSError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
# The server cancels a statement by itself where `statement_timeout` is set.
TOOK_TOO_LONG = (TimeoutError, asyncpg.QueryCanceledError)
REFUSED_FOR_A_WHILE = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
)
# One of several transactions that got in each other's way is rolled back, and can be tried again.
CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
MAX_ATTEMPTS = 5  # of a transaction that can be tried again
RETRY_DELAY = 0.02  # seconds at most before the second attempt; each delay is twice as long
REFUSAL_LASTS = 5.0  # seconds for which a full disk counts as unavailable, as in `Retry-After`
MAX_CAUSES = 10  # of an error that are searched for values
EVENT_LOOPS = ("asyncio", "uvloop")
QUOTED = re.compile(r'"[^"]*"')

Isolation = Literal["read_committed", "repeatable_read", "serializable"]
Violations = Mapping[type[asyncpg.IntegrityConstraintViolationError], Callable[[str], APIError]]
Result = TypeVar("Result")


class Executor(Protocol):
    """What can execute statements: the connector, a connection within a transaction, or a fake."""

    async def execute(self, query: str, /, *args: Any) -> str:
        """Execute a statement and return its status."""

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:
        """Return the rows of a statement."""

    async def fetchrow(self, query: str, /, *args: Any) -> Any:
        """Return the first row of a statement; None where there is none."""

    async def fetchval(self, query: str, /, *args: Any) -> Any:
        """Return the first value of the first row; None where there is none."""


class PostgresConnector:
    """A pool of connections to PostgreSQL.

    Args:
        url: of the database, with user and password.
        size: the largest number of connections.
        timeout: for a connection, and for each statement, in seconds.
        statement_cache_size: the number of prepared statements that a connection keeps. It must be
            0 behind PgBouncer in transaction mode, where each transaction may run on another
            connection of the server; `pgbouncer=true` in the URL has the same effect.
        read_only: whether a server that refuses to write, such as a replica, is good enough.
        on_connect: is called with each new connection.
    """

    def __init__(
        self,
        url: PostgresDsn,
        size: int,
        timeout: float,
        *,
        statement_cache_size: int = 100,
        read_only: bool = False,
        on_connect: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        options = postgres_options(str(url))
        self._pool = asyncpg.create_pool(
            options.dsn,
            min_size=0,
            max_size=size,
            timeout=min(timeout, options.connect_timeout or timeout),
            command_timeout=timeout,
            statement_cache_size=0 if options.pgbouncer else statement_cache_size,
            init=on_connect,
        )
        self._timeout = timeout
        self._read_only = read_only
        self._waiting = 0
        self._refused_until = 0.0
        host = url.hosts()[0]
        self._address: dict[str, Any] = {
            "database": (url.path or "/")[1:],
            "user": host["username"] or "",
            "host": host["host"] or "",
            "port": host["port"] or 5432,
        }

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy]:
        """Yield a connection.

        Within the block errors of statements are the driver's, so that a repository can handle one
        that it expects, such as `asyncpg.UniqueViolationError`. What leaves the block is translated,
        if the driver has raised it; any other exception has nothing to do with PostgreSQL.

        Raises:
            PostgresConnectionError: There is no connection, or it was lost.
            PostgresTimeoutError: A statement took too long.
            StoreUnavailableError: PostgreSQL refuses a statement for a while.
            StoreRefusedError: PostgreSQL refuses a statement.
        """
        connection = await self._acquire()
        # The pool's, which is gone from it as soon as it is lost, and the driver's.
        connections = (connection, getattr(connection, "_con", None))
        try:
            yield connection
        except Exception as exc:
            _hide_values(exc)
            if not isinstance(exc, DRIVER_ERRORS) or not _is_about(connections, exc):
                raise
            if isinstance(exc, asyncpg.ReadOnlySQLTransactionError):
                await self._leave_server()
            raise self.translate(exc, is_lost=_is_closed(connection)) from exc
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(
        self, isolation: Isolation | None = None
    ) -> AsyncIterator[PoolConnectionProxy]:
        """Yield a connection within a transaction, which is rolled back if the block fails.

        Several repositories that are built on the connection share the transaction. Raises what
        `connection` raises.

        Args:
            isolation: from other transactions; None for what the database has as its default.
        """
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation),
        ):
            yield connection

    async def run_transaction(
        self,
        work: Callable[[PoolConnectionProxy], Awaitable[Result]],
        isolation: Isolation = "serializable",
    ) -> Result:
        """Run a function in a transaction, and again where other transactions get in its way.

        A rollback comes before each further attempt, so the function must do nothing that a
        rollback does not undo: it calls no other service and sends no message.

        Args:
            work: is called with the connection at each attempt.
            isolation: from other transactions.

        Raises:
            TransactionConflictError: Others got in its way at each attempt.
        """
        attempt = 1
        while True:
            try:
                async with self.transaction(isolation) as connection:
                    return await work(connection)
            except StoreUnavailableError as exc:
                conflict = exc.__cause__
                if not isinstance(conflict, CONFLICTS):
                    raise
                if attempt == MAX_ATTEMPTS:
                    raise TransactionConflictError(attempt, exc.reason) from conflict
            await asyncio.sleep(_delay_after(attempt))
            attempt += 1

    async def execute(self, query: str, /, *args: Any) -> str:
        """Execute a statement and return its status; raises what `connection` raises."""
        async with self.connection() as connection:
            return await connection.execute(query, *args)

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:
        """Return the rows of a statement; raises what `connection` raises."""
        async with self.connection() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, /, *args: Any) -> Any:
        """Return the first row of a statement, or None; raises what `connection` raises."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: str, /, *args: Any) -> Any:
        """Return the first value of the first row, or None; raises what `connection` raises."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *args)

    async def is_alive(self) -> None:
        """Check that PostgreSQL can be used; raises PostgresConnectionNotAliveError."""
        try:
            if monotonic() < self._refused_until:
                raise StoreUnavailableError("postgres", "refused lately")
            read_only = await self.fetchval("SHOW transaction_read_only")
            if read_only == "on" and not self._read_only:
                await self._leave_server()
                raise StoreUnavailableError("postgres", "read-only")
        except APIError as exc:
            cause = exc.__cause__ or exc
            raise PostgresConnectionNotAliveError(**self._address) from cause

    def translate(self, exc: Exception, *, is_lost: bool = False) -> APIError:
        """Return the own error for what a driver has raised, without the values of statements.

        Args:
            exc: what was raised.
            is_lost: whether the connection is gone.
        """
        _hide_values(exc)
        reason = type(exc).__name__
        if isinstance(exc, TOOK_TOO_LONG):
            return PostgresTimeoutError(**self._address)
        if isinstance(exc, REFUSED_FOR_A_WHILE):
            if isinstance(exc, asyncpg.InsufficientResourcesError):
                self._refused_until = monotonic() + REFUSAL_LASTS
            return StoreUnavailableError("postgres", reason)
        if isinstance(exc, CONNECTION_LOST) or is_lost:
            return PostgresConnectionError(**self._address)
        return StoreRefusedError("postgres", reason)

    def pool(self) -> dict[str, int]:
        """Return the numbers of connections in use and idle, and of callers that wait for one."""
        idle = self._pool.get_idle_size()
        in_use = self._pool.get_size() - idle
        return {"in_use": in_use, "idle": idle, "waiting": self._waiting}

    async def aclose(self) -> None:
        """Close all connections, also those in use."""
        await self._pool  # a pool that was never opened cannot be closed
        self._pool.terminate()

    async def _acquire(self) -> PoolConnectionProxy:
        self._waiting += 1
        try:
            await self._pool  # opens it the first time, without a connection
            return await self._pool.acquire(timeout=self._timeout)
        except DRIVER_ERRORS as exc:
            raise PostgresConnectionError(**self._address) from exc
        finally:
            self._waiting -= 1

    async def _release(self, connection: PoolConnectionProxy) -> None:
        """Return a connection to the pool; if it is lost, close those that are idle.

        A server that has not confirmed within half of the timeout that it has cancelled a statement
        has died without closing its connections. Each of them would cost a request the timeout.
        """
        lost = _is_closed(connection)
        try:
            await self._pool.release(connection, timeout=self._timeout / 2)
        except DRIVER_ERRORS:
            lost = True
        if lost:
            await self._close_idle_connections()

    async def _leave_server(self) -> None:
        """Have new connections for what comes next: after a failover they reach another server."""
        await self._close_idle_connections()
        await self._pool.expire_connections()

    async def _close_idle_connections(self) -> None:
        with suppress(asyncpg.InterfaceError):  # the pool is closed
            while self._pool.get_idle_size() > 0:
                connection = await self._pool.acquire()
                connection.terminate()
                await self._pool.release(connection)


@contextmanager
def translate_violations(errors: Violations) -> Iterator[None]:
    """Raise an own error where a statement breaks a constraint, `from` that of the driver.

    It is the same for a statement of the connector, which has translated the driver's error
    already, and for one of a connection.

    Args:
        errors: what makes an own error of the name of the constraint, by the driver's error.
    """
    try:
        yield
    except (asyncpg.IntegrityConstraintViolationError, StoreRefusedError) as exc:
        violation = exc.__cause__ if isinstance(exc, StoreRefusedError) else exc
        for kind, build_error in errors.items():
            if isinstance(violation, kind):
                raise build_error(violation.constraint_name or "") from violation
        raise


def _delay_after(attempt: int) -> float:
    """Return the seconds before the next attempt, spread so that transactions part."""
    return random.uniform(0, RETRY_DELAY * 2 ** (attempt - 1))  # noqa: S311 - no secret


def _is_about(connections: Sequence[Any], exc: BaseException) -> bool:
    """Return whether the driver has raised an exception about one of its connections.

    The class does not say so: an OSError may as well be about a file or another service, and a
    TimeoutError may come from `asyncio.timeout`.
    """
    frames = [frame for frame, _ in traceback.walk_tb(exc.__traceback__)]
    while frames and _package_of(frames[-1]) in EVENT_LOOPS:
        frames.pop()
    if not frames or _package_of(frames[-1]) != "asyncpg":
        return False
    owners = [frame.f_locals.get("self") for frame in frames]
    # A prepared statement, a cursor or a transaction belongs to a connection.
    owners += [getattr(owner, "_connection", None) for owner in owners]
    return any(owner is connection for owner in owners for connection in connections)


def _package_of(frame: FrameType) -> str:
    module: str = frame.f_globals.get("__name__", "")
    return module.partition(".")[0]


def _is_closed(connection: PoolConnectionProxy) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken a lost connection back
        return True


def _hide_values(exc: BaseException) -> None:
    """Remove the values of statements from the text of an error and its causes, for the log."""
    error: BaseException | None = exc
    for _ in range(MAX_CAUSES):
        if error is None:
            return
        if isinstance(error, asyncpg.DataError) or "query argument" in str(error):
            text = str(error.args[0]).partition(": ")[0]
            error.args = (QUOTED.sub('"***"', text),)
            error.__cause__ = None
            error.__suppress_context__ = True
        error = error.__cause__ or error.__context__


def connect_postgres(settings: Settings) -> PostgresConnector:
    """Return a connector to PostgreSQL, as the settings say."""
    return PostgresConnector(
        settings.database_url.get_secret_value(),
        settings.database_pool_size,
        settings.database_timeout,
        statement_cache_size=settings.database_statement_cache_size,
        on_connect=observe_connection,
    )
