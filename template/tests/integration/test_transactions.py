"""Several repositories share a transaction, and transactions that collide are tried again."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from pydantic import PostgresDsn

from src.connectors.postgres import MAX_ATTEMPTS, Executor, PostgresConnector, translate_violations
from src.utils.errors import (
    PostgresTimeoutError,
    StoreRefusedError,
    StoreUnavailableError,
    TransactionConflictError,
)

RAISE_DEADLOCK = "DO $$ BEGIN RAISE deadlock_detected; END $$"
RAISE_LOCK_TAKEN = "DO $$ BEGIN RAISE lock_not_available; END $$"


class JarTakenError(StoreRefusedError):
    """There is a jar with this name."""

    status_code = 409

    def __init__(self, constraint: str) -> None:
        super().__init__("postgres", constraint)


class JarRepository:
    """Counts what is in jars.

    Args:
        database: the connector, or a connection within a transaction.
    """

    def __init__(self, database: Executor) -> None:
        self._database = database

    async def add(self, name: str) -> None:
        """Add an empty jar; raises JarTakenError."""
        with translate_violations({asyncpg.UniqueViolationError: JarTakenError}):
            await self._database.execute("INSERT INTO jars VALUES ($1, 0)", name)

    async def count(self, name: str) -> int | None:
        """Return how much is in a jar; None where there is no such jar."""
        count: int | None = await self._database.fetchval(
            "SELECT count FROM jars WHERE name = $1", name
        )
        return count

    async def set_count(self, name: str, count: int) -> None:
        """Say how much is in a jar."""
        await self._database.execute("UPDATE jars SET count = $2 WHERE name = $1", name, count)


@pytest.fixture
async def postgres() -> AsyncIterator[PostgresConnector]:
    """A connector to a database with an empty jar of tea."""
    connector = PostgresConnector(PostgresDsn(os.environ["DATABASE_URL"]), 3, 5)
    await connector.execute("CREATE TABLE jars (name text PRIMARY KEY, count int NOT NULL)")
    await JarRepository(connector).add("tea")
    yield connector
    await connector.execute("DROP TABLE jars")
    await connector.aclose()


async def fill(postgres: PostgresConnector, bug: str | None = None) -> None:
    """Write with two repositories in a transaction; raises KeyError at the end if there is a bug."""
    async with postgres.transaction() as connection:
        await JarRepository(connection).add("salt")
        await JarRepository(connection).set_count("tea", 5)
        if bug:
            raise KeyError(bug)


async def test_repositories_share_a_transaction(postgres: PostgresConnector) -> None:
    """What two repositories have written in a transaction stays, both or none."""
    with pytest.raises(KeyError):
        await fill(postgres, "a bug")
    assert await JarRepository(postgres).count("salt") is None
    assert await JarRepository(postgres).count("tea") == 0
    await fill(postgres)
    assert await JarRepository(postgres).count("salt") == 0
    assert await JarRepository(postgres).count("tea") == 5


async def test_violation_is_an_own_error_in_a_transaction_and_without(
    postgres: PostgresConnector,
) -> None:
    """A repository translates a violation, whichever of the two executes its statements."""
    with pytest.raises(JarTakenError) as caught:
        await JarRepository(postgres).add("tea")
    assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)
    with pytest.raises(JarTakenError) as caught:
        async with postgres.transaction() as connection:
            await JarRepository(connection).add("tea")
    assert caught.value.reason == "jars_pkey"


async def test_colliding_transactions_are_tried_again(postgres: PostgresConnector) -> None:
    """Of two that read the same row before either writes, one is tried again: both count."""
    both_have_read = asyncio.Barrier(2)
    attempts = 0

    async def add_one(connection: Any) -> int:
        nonlocal attempts
        attempts += 1
        jars = JarRepository(connection)
        count = await jars.count("tea")
        assert count is not None
        if attempts <= both_have_read.parties:
            await both_have_read.wait()
        await jars.set_count("tea", count + 1)
        return count + 1

    async with asyncio.timeout(30):
        counts = await asyncio.gather(
            postgres.run_transaction(add_one), postgres.run_transaction(add_one)
        )
    assert sorted(counts) == [1, 2]
    assert attempts == 3
    assert await JarRepository(postgres).count("tea") == 2


async def test_deadlock_is_tried_again(postgres: PostgresConnector) -> None:
    """The transaction that PostgreSQL ends to solve a deadlock is tried again, from its start."""
    attempts = 0

    async def put(connection: Any) -> None:
        nonlocal attempts
        attempts += 1
        await JarRepository(connection).add(f"jar {attempts}")
        if attempts == 1:
            await connection.execute(RAISE_DEADLOCK)

    await postgres.run_transaction(put, "read_committed")
    assert attempts == 2
    assert await JarRepository(postgres).count("jar 1") is None
    assert await JarRepository(postgres).count("jar 2") == 0


async def test_transaction_that_always_collides_is_an_own_error(
    postgres: PostgresConnector,
) -> None:
    """After some attempts it is a 503 that says how many, `from` the driver's error."""

    async def lose(connection: Any) -> None:
        count = await JarRepository(connection).count("tea")
        assert count is not None
        await JarRepository(postgres).set_count("tea", count + 1)
        await JarRepository(connection).set_count("tea", 0)

    with pytest.raises(TransactionConflictError) as caught:
        await postgres.run_transaction(lose)
    error = caught.value
    assert error.status_code == 503
    assert error.fields == {"attempts": MAX_ATTEMPTS, "reason": "SerializationError"}
    assert isinstance(error.__cause__, asyncpg.SerializationError)
    assert await JarRepository(postgres).count("tea") == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (RAISE_LOCK_TAKEN, StoreUnavailableError),
        ("SELECT nothing", StoreRefusedError),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(30)", PostgresTimeoutError),
    ],
)
async def test_what_is_no_collision_is_not_tried_again(
    postgres: PostgresConnector, statement: str, error: type[Exception]
) -> None:
    """A transaction that fails for another reason is rolled back, once."""
    attempts = 0

    async def fail(connection: Any) -> None:
        nonlocal attempts
        attempts += 1
        await JarRepository(connection).add("salt")
        await connection.execute(statement)

    with pytest.raises(error):
        await postgres.run_transaction(fail)
    assert attempts == 1
    assert await JarRepository(postgres).count("salt") is None
