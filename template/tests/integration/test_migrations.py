"""Each migration can be taken back, and applied again."""

import asyncio
import re
import shutil
from pathlib import Path

import asyncpg

from src.config import ROOT
from src.connectors.migrations import FOLDER, find_heads, read_migrations
from tests.support.migrations import own_database, run_alembic

BESIDE = """
from alembic import op

revision = "beside"
down_revision = {parent!r}


def upgrade() -> None:
    op.execute("CREATE TABLE jars (label text)")
    with op.get_context().autocommit_block():
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS jars_label ON jars (label)")
    op.execute("ALTER TABLE jars ADD COLUMN size integer")
"""

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
    with own_database() as url:
        before = asyncio.run(read_schema(url))
        down = run_alembic(url, "downgrade", "base")
        assert down.returncode == 0, down.stderr
        assert asyncio.run(read_schema(url)) == []
        up = run_alembic(url, "upgrade", "head")
        assert up.returncode == 0, up.stderr
        assert asyncio.run(read_schema(url)) == before


def test_migrations_are_listed() -> None:
    """Each that is applied or taken back is a line with its message; so is that there is none."""
    revisions = sorted(migration.revision for migration in read_migrations(FOLDER))
    with own_database() as url:
        again = run_alembic(url, "upgrade", "head")
        down = run_alembic(url, "downgrade", "base")
        up = run_alembic(url, "upgrade", "head")
        current = run_alembic(url, "current")
    assert again.stdout == "no migration to apply\n"
    assert sorted(re.findall(r"(?m)^took back (\S+): \S.*$", down.stdout)) == revisions
    assert sorted(re.findall(r"(?m)^applied (\S+): \S.*$", up.stdout)) == revisions
    assert "appl" not in current.stdout


def test_index_can_be_built_beside_a_table_in_use(tmp_path: Path) -> None:
    """Alembic leaves the transaction for it, and goes on in another one."""
    for name in ("src", "migrations"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    heads = find_heads(read_migrations(FOLDER))
    text = BESIDE.format(parent=heads[0] if heads else None)
    (tmp_path / "migrations" / "versions" / "beside.py").write_text(text, encoding="utf-8")
    with own_database() as url:
        done = run_alembic(url, "upgrade", "head", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        schema = asyncio.run(read_schema(url))
    assert "CREATE INDEX jars_label ON public.jars USING btree (label)" in schema
    assert any(line.startswith("jars size integer") for line in schema)
