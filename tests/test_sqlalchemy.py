"""The page about SQLAlchemy holds what it says: the code is clean, and fails as the connector does."""

import re
import sys

from tests.support.files import read, write
from tests.support.services import run
from tests.support.template import ROOT, Render

PAGE = ROOT / "docs/sqlalchemy.md"
TEST = '''"""Sessions of SQLAlchemy fail as the connector does."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from pydantic import PostgresDsn
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dev.ports import free_port
from src.airtight.logging import redact_text
from src.airtight.tracebacks import format_exception
from src.config import Settings, load_settings
from src.connectors.postgres import PostgresConnector
from src.connectors.sessions import Sessions
from src.utils.errors import (
    APIError,
    PostgresConnectionError,
    PostgresTimeoutError,
    StoreRefusedError,
    StoreUnavailableError,
)


class Base(DeclarativeBase):
    pass


class Jar(Base):
    __tablename__ = "jars"

    name: Mapped[str] = mapped_column(primary_key=True)


@dataclass
class World:
    postgres: PostgresConnector
    sessions: Sessions

    async def names(self) -> list[str]:
        async with self.sessions.open() as session:
            return list(await session.scalars(select(Jar.name)))

    async def add(self, *names: str, bug: bool = False) -> None:
        async with self.sessions.open() as session:
            session.add_all(Jar(name=name) for name in names)
            if bug:
                raise KeyError("a bug")

    async def add_new(self, name: str) -> None:
        async with self.sessions.open() as session:
            session.add(Jar(name=name))
            try:
                await session.flush()
            except IntegrityError as exc:
                raise APIError("taken") from exc

    async def run(self, statement: str) -> None:
        async with self.sessions.open() as session:
            await session.execute(text(statement))


async def build(settings: Settings) -> World:
    url = settings.database_url.get_secret_value()
    postgres = PostgresConnector(PostgresDsn(str(url)), 2, settings.database_timeout)
    return World(postgres, Sessions(settings, postgres))


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setenv("DATABASE_TIMEOUT", "0.5")
    world = await build(load_settings())
    await world.postgres.execute("CREATE TABLE jars (name text PRIMARY KEY)")
    yield world
    await world.sessions.aclose()
    await world.postgres.execute("DROP TABLE jars")
    await world.postgres.aclose()


async def test_block_is_a_transaction(world: World) -> None:
    """What a block writes stays, unless the block fails."""
    await world.add("tea", "salt")
    with pytest.raises(KeyError):
        await world.add("sugar", bug=True)
    assert sorted(await world.names()) == ["salt", "tea"]


async def test_repository_handles_what_it_expects(world: World) -> None:
    """A unique violation is SQLAlchemy's within the block, and an own error outside of it."""
    await world.add("hunter22")
    with pytest.raises(APIError, match="taken"):
        await world.add_new("hunter22")
    with pytest.raises(StoreRefusedError) as caught:
        await world.add("hunter22")
    assert caught.value.reason == "UniqueViolationError"
    assert "hunter22" not in redact_text(format_exception(caught.value))


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT nothing", StoreRefusedError),
        ("SELECT 'hunter22'::int", StoreRefusedError),
        ("SELECT pg_sleep(30)", PostgresTimeoutError),
        ("DO $$ BEGIN RAISE lock_not_available; END $$", StoreUnavailableError),
        ("SELECT pg_terminate_backend(pg_backend_pid())", PostgresConnectionError),
    ],
)
async def test_failures_are_own_errors(
    world: World, statement: str, error: type[Exception]
) -> None:
    """Each failure is what the connector makes of it, and the next session works."""
    with pytest.raises(error) as caught:
        await world.run(statement)
    assert type(caught.value) is error
    assert caught.value.__cause__
    assert await world.names() == []


async def test_database_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be made is an own error."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://app:x@127.0.0.1:{free_port()}/app")
    world = await build(load_settings())
    with pytest.raises(PostgresConnectionError):
        await world.run("SELECT 1")
    await world.sessions.aclose()
    assert os.environ["DATABASE_URL"]
'''


def test_recipe_holds(render: Render) -> None:
    """The module of the page passes all checks, and its failures are those of the connector."""
    folder = render(example="none", stores=["postgres"])
    (module,) = re.findall(r'(?s)```python\n(""".*?)```', read(PAGE))
    write(folder / "src/connectors/sessions.py", module)
    write(folder / "tests/integration/test_sessions.py", TEST)
    for command in (
        ["run", "ruff", "format", "--check", "."],
        ["run", "ruff", "check", "."],
        ["run", "mypy"],
        ["run", "lint-imports"],
        ["run", "python", "-m", "dev.house_rules", "src"],
        ["test", "-q", "-n0", "tests/integration/test_sessions.py"],
    ):
        done = run(folder, sys.executable, "-m", "dev", *command)
        assert done.returncode == 0, done.stdout[-6000:]
