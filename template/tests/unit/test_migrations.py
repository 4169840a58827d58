"""The migrations follow each other in one line."""

import pytest

from dev.database import add_migration, next_revision
from src.connectors.migrations import FOLDER, Migration, find_heads, read_migrations


def migration(revision: str, *parents: str) -> Migration:
    """Return a migration that follows others."""
    return Migration(revision, frozenset(parents))


def test_one_migration_is_the_newest() -> None:
    """No two migrations follow the same one: set `down_revision` of one of them to the other."""
    assert len(find_heads(read_migrations(FOLDER))) <= 1


def test_each_migration_follows_one_that_exists() -> None:
    """A `down_revision` names a migration of this folder."""
    migrations = read_migrations(FOLDER)
    revisions = {migration.revision for migration in migrations}
    for migration in migrations:
        assert migration.parents <= revisions


@pytest.mark.parametrize(
    ("migrations", "revision"),
    [
        ([], "0001"),
        ([migration("0001"), migration("0002", "0001")], "0003"),
        ([migration("0009")], "0010"),
        ([migration("9999")], "10000"),
        ([migration("ae1027a6acf"), migration("bf2138b7bd0", "ae1027a6acf")], "0003"),
    ],
)
def test_migrations_are_numbered(migrations: list[Migration], revision: str) -> None:
    """A new migration has the next number, also after those of Alembic's own making."""
    assert next_revision(migrations) == revision


def test_migration_is_refused_where_two_are_the_newest() -> None:
    """One line says which they are, and what to change."""
    branches = [migration("0001"), migration("0002", "0001"), migration("0003", "0001")]
    with pytest.raises(SystemExit) as caught:
        next_revision(branches)
    message = str(caught.value)
    assert message.startswith("the migrations 0002 and 0003 both are the newest: ")
    assert 'set `down_revision` of 0003 to "0002"' in message


@pytest.mark.parametrize("name", ["", " ", "42", "two\nlines", "x" * 81])
def test_migration_without_a_name_is_refused(name: str) -> None:
    """One line shows how to name it."""
    with pytest.raises(SystemExit) as caught:
        add_migration(name)
    assert str(caught.value).startswith("name the migration: make migration name=")
    assert "\n" not in str(caught.value)
