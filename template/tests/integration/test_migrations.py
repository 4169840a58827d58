"""Each migration can be taken back, and applied again."""

import asyncio
import os

import asyncpg

from dev.postgres import own_database
from tests.support.migrations import run_alembic

COLUMNS = """
    SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name <> 'alembic_version'
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
CONSTRAINTS = """
    SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
"""


async def read_schema(url: str) -> list[str]:
    """Return a line for each column, index and constraint, but those of Alembic's own table."""
    connection = await asyncpg.connect(url)
    try:
        lines: list[str] = []
        for query in (COLUMNS, INDEXES, CONSTRAINTS):
            lines += [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()
    return sorted(line for line in lines if "alembic_version" not in line)


def test_migrations_can_be_taken_back() -> None:
    """Down to nothing and up again leads to the same tables; each `downgrade` leaves nothing."""
    with own_database(os.environ["DATABASE_URL"]) as url:
        before = asyncio.run(read_schema(url))
        down = run_alembic(url, "downgrade", "base")
        assert down.returncode == 0, down.stderr
        assert asyncio.run(read_schema(url)) == []
        up = run_alembic(url, "upgrade", "head")
        assert up.returncode == 0, up.stderr
        assert asyncio.run(read_schema(url)) == before
