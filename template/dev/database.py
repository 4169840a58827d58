"""The tables of the database, and the migrations that make them."""

import os
import re
import sys

from dev import OWN, stores
from dev.programs import run
from src.connectors.migrations import FOLDER, Migration, find_heads, read_migrations

MAX_NAME = 80  # characters; a name is the first line of a docstring
USAGE = 'name the migration: make migration name="add quota"'


def migrate() -> None:
    """Bring the database of the environment, or that of `make dev`, to the newest version."""
    with stores.running(OWN) as urls:
        os.environ |= urls
        upgrade()


def upgrade() -> None:
    """Apply the migrations that are missing; ends the process if that fails."""
    print("applying migrations ...", file=sys.stderr)
    _run_alembic("upgrade", "head")


def rollback() -> None:
    """Take back the newest migration of the same database."""
    with stores.running(OWN) as urls:
        os.environ |= urls
        _run_alembic("downgrade", "-1")


def add_migration(*words: str) -> None:
    """Write a file for a new migration, numbered after the newest.

    Args:
        words: what it does, such as `add quota`.
    """
    name = " ".join(words).strip()
    _check_name(name)
    revision = next_revision(read_migrations(FOLDER))
    _run_alembic("revision", f"--rev-id={revision}", f"--message={name}")


def next_revision(migrations: list[Migration]) -> str:
    """Return the number of the migration after these; ends the process if two are the newest."""
    heads = find_heads(migrations)
    if len(heads) > 1:
        sys.exit(
            f"the migrations {' and '.join(heads)} both are the newest: set `down_revision` of "
            f'{heads[-1]} to "{heads[0]}", or the other way round'
        )
    numbers = [int(found.revision) for found in migrations if found.revision.isdigit()]
    return f"{max([len(migrations), *numbers]) + 1:04}"


def _check_name(name: str) -> None:
    if not re.search(r"[A-Za-z]", name):
        sys.exit(USAGE)
    if len(name) > MAX_NAME or not name.isprintable():
        sys.exit(f"{USAGE}; it is one line of at most {MAX_NAME} characters")


def _run_alembic(*arguments: str) -> None:
    code = run("alembic", *arguments)
    if code:
        sys.exit(code)
