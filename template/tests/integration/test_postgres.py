"""What fails at PostgreSQL becomes an error of our own, and nothing else does."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import PostgresDsn

from dev.ports import free_port
from src.airtight.application import AirtightAPI
from src.airtight.logging import redact_text
from src.airtight.tracebacks import format_exception
from src.connectors.postgres import PostgresConnector
from src.utils.errors import (
    APIError,
    PostgresConnectionError,
    PostgresTimeoutError,
    StoreRefusedError,
    StoreUnavailableError,
)

SLOW = "SELECT pg_sleep(30)"
BACKEND = "SELECT pg_backend_pid()"
VALUE = "hunter22"
Connection = Any
Block = Callable[[Connection], Awaitable[None]]


def connect_to(url: str, *, size: int = 1, timeout: float = 5.0) -> PostgresConnector:
    """Return a connector."""
    return PostgresConnector(PostgresDsn(url), size, timeout)


async def run(postgres: PostgresConnector, block: Block) -> None:
    """Run a block within a transaction."""
    async with postgres.transaction() as connection:
        await block(connection)


def assert_not_repeated(exc: BaseException) -> None:
    """The traceback, as it is logged, does not show the value."""
    assert VALUE not in redact_text(format_exception(exc))


@pytest.fixture
async def postgres() -> AsyncIterator[PostgresConnector]:
    """A connector with one connection, so that it is seen whether that stays."""
    connector = connect_to(os.environ["DATABASE_URL"])
    yield connector
    await connector.aclose()


async def raise_os_error(_: Connection) -> None:
    raise OSError("the disk is full")


async def open_missing_file(_: Connection) -> None:
    await asyncio.to_thread(Path("/no/such/file").read_bytes)


async def raise_timeout(_: Connection) -> None:
    raise TimeoutError("of our own")


async def wait_too_long(_: Connection) -> None:
    async with asyncio.timeout(0.01):
        await asyncio.Event().wait()


async def wait_for_too_long(_: Connection) -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 0.01)


async def call_service_that_is_unavailable(_: Connection) -> None:
    await asyncio.open_connection("127.0.0.1", free_port())


async def look_up_unknown_host(_: Connection) -> None:
    await asyncio.open_connection("no-such-host.invalid", 1)


async def raise_connection_reset(_: Connection) -> None:
    raise ConnectionResetError("by another service")


async def connect_to_another_database(_: Connection) -> None:
    await asyncpg.connect(f"postgresql://app:x@127.0.0.1:{free_port()}/app")


async def use_another_connection(_: Connection) -> None:
    other = await asyncpg.connect(os.environ["DATABASE_URL"])
    try:
        await other.execute("SELECT nothing")
    finally:
        await other.close()


async def cancel_own_statement(connection: Connection) -> None:
    async with asyncio.timeout(0.2):
        await connection.execute(SLOW)


OWN_FAILURES = [
    raise_os_error,
    open_missing_file,
    raise_timeout,
    wait_too_long,
    wait_for_too_long,
    call_service_that_is_unavailable,
    look_up_unknown_host,
    raise_connection_reset,
    connect_to_another_database,
    use_another_connection,
    cancel_own_statement,
]


@pytest.mark.parametrize("fail", OWN_FAILURES)
@pytest.mark.parametrize("method", ["connection", "transaction"])
async def test_failure_of_own_code_is_not_postgres(
    postgres: PostgresConnector, fail: Block, method: str
) -> None:
    """What a block raises itself leaves it as it is, and the connection stays in use."""
    backend = await postgres.fetchval(BACKEND)
    with pytest.raises((OSError, asyncpg.PostgresError)) as caught:
        async with getattr(postgres, method)() as connection:
            await fail(connection)
    assert not isinstance(caught.value, APIError)
    assert await postgres.fetchval(BACKEND) == backend


async def test_failure_of_own_code_is_a_bug(
    postgres: PostgresConnector, caplog: pytest.LogCaptureFixture
) -> None:
    """In a route it is a 500 with one CRITICAL, whatever block it was raised in."""
    app = AirtightAPI()

    @app.get("/")
    async def use_postgres() -> None:
        async with postgres.connection():
            raise OSError("the disk is full")

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/")
    assert response.status_code == 500
    failures = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.levelname for record in failures] == ["CRITICAL"]


async def test_statement_over_the_timeout_took_too_long() -> None:
    """A statement that takes longer than `DATABASE_TIMEOUT` is a 503 of its own class."""
    connector = connect_to(os.environ["DATABASE_URL"], timeout=0.2)
    with pytest.raises(PostgresTimeoutError) as caught:
        await connector.execute(SLOW)
    assert caught.value.status_code == 503
    assert "took too long" in str(caught.value)
    assert not isinstance(caught.value, PostgresConnectionError)
    assert await connector.fetchval("SELECT 1") == 1
    await connector.aclose()


async def test_statement_that_the_server_cancels_took_too_long(
    postgres: PostgresConnector,
) -> None:
    """A `statement_timeout` of the server means the same."""

    async def block(connection: Connection) -> None:
        await connection.execute("SET LOCAL statement_timeout = 100")
        await connection.execute(SLOW)

    with pytest.raises(PostgresTimeoutError):
        await run(postgres, block)
    assert await postgres.fetchval("SELECT 1") == 1


async def test_prepared_statement_over_the_timeout_took_too_long() -> None:
    """What belongs to a connection, such as a cursor, fails like the connection."""

    async def fetch_prepared(connection: Connection) -> None:
        statement = await connection.prepare(SLOW)
        await statement.fetch()

    async def read_cursor(connection: Connection) -> None:
        async for _ in connection.cursor(SLOW):
            pass

    connector = connect_to(os.environ["DATABASE_URL"], timeout=0.2)
    for block in (fetch_prepared, read_cursor):
        with pytest.raises(PostgresTimeoutError):
            await run(connector, block)
    await connector.aclose()


async def test_lost_connection_is_an_error_of_our_own(postgres: PostgresConnector) -> None:
    """A connection that the server ends is a 503, and the next one works."""
    with pytest.raises(PostgresConnectionError) as caught:
        async with postgres.connection() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert caught.value.status_code == 503
    assert await postgres.fetchval("SELECT 1") == 1


async def test_connection_that_breaks_in_a_block_is_an_error_of_our_own(
    postgres: PostgresConnector,
) -> None:
    """So is one that breaks between two statements."""

    async def block(connection: Connection) -> None:
        other = await asyncpg.connect(os.environ["DATABASE_URL"])
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await other.close()
        await connection.execute("SELECT 1")

    with pytest.raises(PostgresConnectionError):
        await run(postgres, block)
    assert await postgres.fetchval("SELECT 1") == 1


async def test_server_that_sends_nothing_is_an_error_of_our_own() -> None:
    """A connection that cannot be made within the timeout is a 503."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connector = connect_to(f"postgresql://app:x@127.0.0.1:{port}/app", timeout=0.2)
        with pytest.raises(PostgresConnectionError):
            await connector.execute("SELECT 1")
        await connector.aclose()


async def test_statement_that_is_wrong_is_refused(postgres: PostgresConnector) -> None:
    """What PostgreSQL does not understand is a 500 of our own, and says which error it was."""
    with pytest.raises(StoreRefusedError) as caught:
        await postgres.execute("SELECT nothing")
    assert caught.value.reason == "UndefinedColumnError"
    assert caught.value.status_code == 500


async def test_lock_that_is_taken_is_unavailable(postgres: PostgresConnector) -> None:
    """What passes by itself is a 503."""
    with pytest.raises(StoreUnavailableError) as caught:
        await postgres.execute("DO $$ BEGIN RAISE lock_not_available; END $$")
    assert caught.value.status_code == 503


async def test_error_that_a_repository_expects_stays_the_drivers(
    postgres: PostgresConnector,
) -> None:
    """Within the block a repository handles the driver's errors, and the block goes on."""
    async with postgres.transaction() as connection:
        await connection.execute("CREATE TEMP TABLE one (id int PRIMARY KEY) ON COMMIT DROP")
        await connection.execute("INSERT INTO one VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO one VALUES (1)")
        assert await connection.fetchval("SELECT count(*) FROM one") == 1


WRONG_VALUES: list[tuple[str, object]] = [
    ("SELECT $1::int", VALUE),
    ("SELECT $1::int[]", [VALUE]),
    ("SELECT $1::timestamptz", VALUE),
    ("SELECT $1::text::int", VALUE),
    ("SELECT $1::text::uuid", VALUE),
    ("SELECT $1::text::date", 'hunter22"x'),
    ("SELECT $1::text::json", '{"hunter22'),
    ("SELECT $1::text::inet", VALUE),
    ("SELECT ('{' || $1)::int[]", VALUE),
]


@pytest.mark.parametrize(("statement", "value"), WRONG_VALUES)
async def test_value_that_does_not_fit_is_not_repeated(
    postgres: PostgresConnector, statement: str, value: object
) -> None:
    """The driver and the server repeat a value that they cannot use; our log does not."""
    with pytest.raises(StoreRefusedError) as caught:
        await postgres.execute(statement, value)
    assert_not_repeated(caught.value)
    assert caught.value.reason in str(caught.value)


async def test_row_that_breaks_a_rule_is_not_repeated(postgres: PostgresConnector) -> None:
    """Nor does it repeat the row that a constraint refuses."""

    async def block(connection: Connection) -> None:
        await connection.execute("CREATE TEMP TABLE two (name text UNIQUE) ON COMMIT DROP")
        rows = [(VALUE,), (VALUE,)]
        await connection.executemany("INSERT INTO two VALUES ($1)", rows)

    with pytest.raises(StoreRefusedError) as caught:
        await run(postgres, block)
    assert_not_repeated(caught.value)


async def test_value_is_not_repeated_by_the_cause_of_an_own_error(
    postgres: PostgresConnector,
) -> None:
    """A repository may translate the driver's error itself: the cause is logged, too."""

    async def block(connection: Connection) -> None:
        try:
            await connection.execute("SELECT $1::int", VALUE)
        except asyncpg.DataError as exc:
            raise APIError("not a number") from exc

    with pytest.raises(APIError) as caught:
        await run(postgres, block)
    assert_not_repeated(caught.value)


async def test_pool_is_counted() -> None:
    """Connections in use and idle, and callers that wait, are counted."""
    postgres = connect_to(os.environ["DATABASE_URL"])
    assert postgres.pool() == {"in_use": 0, "idle": 0, "waiting": 0}
    async with postgres.connection():
        waiting = asyncio.create_task(postgres.is_alive())
        await asyncio.sleep(0)
        assert postgres.pool() == {"in_use": 1, "idle": 0, "waiting": 1}
    await waiting
    assert postgres.pool() == {"in_use": 0, "idle": 1, "waiting": 0}
    await postgres.aclose()
