"""A constraint that a statement breaks becomes an own error, by whatever connection."""

from typing import Any

import asyncpg
import pytest

from src.connectors.postgres import Executor, translate_violations
from src.utils.errors import APIError, StoreRefusedError


class ShelfFullError(APIError):
    """The shelf is full."""

    status_code = 409

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class FakeDatabase:
    """Executes nothing, and raises an error instead."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def execute(self, query: str, /, *args: Any) -> str:
        raise self._error

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:
        raise self._error

    async def fetchrow(self, query: str, /, *args: Any) -> Any:
        raise self._error

    async def fetchval(self, query: str, /, *args: Any) -> Any:
        raise self._error


async def put(database: Executor) -> None:
    """Put something on the shelf; raises ShelfFullError."""
    with translate_violations({asyncpg.UniqueViolationError: ShelfFullError}):
        await database.execute("INSERT INTO shelf DEFAULT VALUES")


def violation(kind: type[asyncpg.PostgresError], constraint: str) -> asyncpg.PostgresError:
    """Return what the driver raises where a statement breaks a constraint."""
    error = kind("no room")
    error.constraint_name = constraint
    return error


async def test_violation_within_a_transaction_is_an_own_error() -> None:
    """What the driver raises is the cause; the error knows the constraint."""
    cause = violation(asyncpg.UniqueViolationError, "shelf_place_key")
    with pytest.raises(ShelfFullError) as caught:
        await put(FakeDatabase(cause))
    assert caught.value.constraint == "shelf_place_key"
    assert caught.value.__cause__ is cause


async def test_violation_that_the_connector_reports_is_an_own_error() -> None:
    """The connector refuses the statement; the cause is what the driver has raised all the same."""
    cause = violation(asyncpg.UniqueViolationError, "shelf_place_key")
    refused = StoreRefusedError("postgres", "UniqueViolationError")
    refused.__cause__ = cause
    with pytest.raises(ShelfFullError) as caught:
        await put(FakeDatabase(refused))
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    "error",
    [
        violation(asyncpg.CheckViolationError, "shelf_check"),
        StoreRefusedError("postgres", "UndefinedTableError"),
        KeyError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_other_errors_pass(error: Exception) -> None:
    """What nobody has named stays as it is."""
    with pytest.raises(type(error)) as caught:
        await put(FakeDatabase(error))
    assert caught.value is error
