"""What is done with ${labels}, without a database."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from src.clients.${customers} import ${Customer}Repository
from src.models.${customer} import ${Customer}, ${Customer}Changes, New${Customer}
from src.models.page import Cursor
from src.services.${customers} import ${Customer}Service
from src.utils.errors import (
% for error in errors:
    ${error.name},
% endfor
)

START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES: dict[str, Any] = {
% for field in sent:
    "${field.name}": ${"str(uuid4())" if field.target else field.type.value},
% endfor
}


class FakeRepository(${Customer}Repository):
    """Stores ${labels} in memory, the newest first."""

    def __init__(self, count: int = 0) -> None:
        self.stored: list[${Customer}] = []
        for _ in range(count):
            self.store(New${Customer}(**VALUES))

    def store(self, new: New${Customer}) -> ${Customer}:
        created_at = START + timedelta(seconds=len(self.stored))
        stored = ${Customer}(**new.model_dump(), id=uuid4(), created_at=created_at, version=1)
        self.stored.insert(0, stored)
        return stored

    async def add(self, new: New${Customer}) -> ${Customer}:
        return self.store(new)

    async def list_newest(self, limit: int, after: Cursor | None) -> list[${Customer}]:
        start = 0
        if after:
            start = [stored.id for stored in self.stored].index(after.id) + 1
        return self.stored[start : start + limit]

    async def update(
        self, ${customer}_id: UUID, changes: ${Customer}Changes, version: int | None
    ) -> ${Customer}:
        sent = changes.model_dump(exclude_unset=True)
        return self.stored[0].model_copy(update=sent | {"version": 2})

    async def delete(self, ${customer}_id: UUID, version: int | None) -> None:
        self.stored.clear()


class FakeDatabase:
    """Has no rows, and may refuse to write one."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def execute(self, query: str, /, *args: Any) -> str:
        return ""

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:
        return []

    async def fetchrow(self, query: str, /, *args: Any) -> Any:
        if self._error:
            raise self._error

    async def fetchval(self, query: str, /, *args: Any) -> Any:
        return None


async def test_each_${customer}_is_on_one_page() -> None:
    """The cursor of a page leads to the next one, until there are no more."""
    repository = FakeRepository(count=5)
    service = ${Customer}Service(repository)
    first = await service.list_page(2, None)
    second = await service.list_page(2, first.next_cursor)
    third = await service.list_page(2, second.next_cursor)
    assert [*first.items, *second.items, *third.items] == repository.stored
    assert third.next_cursor is None


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_page_that_holds_all_is_the_last(count: int) -> None:
    """A page that is just full has no cursor that would lead to an empty one."""
    page = await ${Customer}Service(FakeRepository(count)).list_page(2, None)
    assert len(page.items) == count
    assert page.next_cursor is None


async def test_each_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What was added, changed and deleted is an INFO each, with its id and without its values."""
    caplog.set_level(logging.INFO)
    service = ${Customer}Service(FakeRepository())
    ${customer} = await service.add(New${Customer}(**VALUES))
    await service.update(${customer}.id, ${Customer}Changes(), None)
    await service.delete(${customer}.id, None)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["${label} added", "${label} changed", "${label} deleted"]
    assert {vars(record)["${customer}_id"] for record in caplog.records} == {${customer}.id}


async def test_what_is_not_stored_is_not_found() -> None:
    """Neither read, nor changed, nor deleted."""
    repository = ${Customer}Repository(FakeDatabase())
    with pytest.raises(${Customer}NotFoundError):
        await repository.get(uuid4())
    with pytest.raises(${Customer}NotFoundError):
        await repository.update(uuid4(), ${Customer}Changes(), None)
    with pytest.raises(${Customer}NotFoundError):
        await repository.delete(uuid4(), 1)


VIOLATIONS: list[tuple[Exception, type[Exception]]] = [
% if unique:
    (asyncpg.UniqueViolationError("taken"), ${Customer}AlreadyExistsError),
% endif
% if references:
    (asyncpg.ForeignKeyViolationError("nothing there"), ${Customer}ReferenceError),
% endif
    (asyncpg.CheckViolationError("a bug"), asyncpg.CheckViolationError),
]


@pytest.mark.parametrize(("cause", "error"), VIOLATIONS)
async def test_broken_constraint_is_an_own_error(
    cause: Exception, error: type[Exception]
) -> None:
    """What the database refuses is an error of our own, `from` the driver's; a bug stays one."""
    repository = ${Customer}Repository(FakeDatabase(cause))
    with pytest.raises(error) as caught:
        await repository.add(New${Customer}(**VALUES))
    assert cause in (caught.value, caught.value.__cause__)


async def test_${customer}_in_use_is_an_own_error() -> None:
    """What something else refers to cannot be deleted."""
    cause = asyncpg.ForeignKeyViolationError("referred to")
    with pytest.raises(${Customer}InUseError) as caught:
        await ${Customer}Repository(FakeDatabase(cause)).delete(uuid4(), None)
    assert caught.value.__cause__ is cause
