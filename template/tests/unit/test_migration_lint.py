"""Migrations that lock tables, or break the version that still runs, are refused."""

from pathlib import Path

import pytest

from dev.migration_lint import check
from src.connectors.migrations import FOLDER

MIGRATION = """
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    {statement}
"""


def rules(folder: Path, statement: str) -> list[str]:
    """Return the rules that a migration with a statement breaks."""
    file = folder / "0002_change.py"
    file.write_text(MIGRATION.replace("{statement}", statement), encoding="utf-8")
    return [problem.split(": ")[1] for problem in check(file)]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_migrations_of_the_service_pass(file: Path) -> None:
    """What is deployed next breaks nothing."""
    assert check(file) == []


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("ALTER TABLE jars DROP COLUMN label", "ban-drop-column"),
        ("ALTER TABLE jars RENAME COLUMN label TO name", "renaming-column"),
        ("ALTER TABLE jars RENAME TO pots", "renaming-table"),
        ("DROP TABLE jars", "ban-drop-table"),
        ("ALTER TABLE jars ADD COLUMN size integer NOT NULL", "adding-required-field"),
        ("ALTER TABLE jars ALTER COLUMN size SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE jars ALTER COLUMN size TYPE bigint", "changing-column-type"),
        ("ALTER TABLE jars ADD CHECK (size > 0)", "constraint-missing-not-valid"),
        ("ALTER TABLE jars ADD UNIQUE (label)", "disallowed-unique-constraint"),
        ("CREATE INDEX ON jars (label)", "require-concurrent-index-creation"),
    ],
)
def test_statement_is_refused(tmp_path: Path, sql: str, rule: str) -> None:
    """A statement that takes something away, or locks a table for long, breaks a rule."""
    assert rule in rules(tmp_path, f'op.execute("{sql}")')


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE jars (label text); CREATE INDEX ON jars (label)",
        "ALTER TABLE jars ADD COLUMN size integer",
        "ALTER TABLE jars ADD COLUMN size integer NOT NULL DEFAULT 1",
        "ALTER TABLE jars ADD CONSTRAINT big CHECK (size > 0) NOT VALID",
        "ALTER TABLE jars VALIDATE CONSTRAINT big",
        "",
    ],
)
def test_statement_is_accepted(tmp_path: Path, sql: str) -> None:
    """What only adds, at once, breaks nothing."""
    assert rules(tmp_path, f'op.execute("{sql}")') == []


def test_index_of_a_table_in_use_is_built_beside_it(tmp_path: Path) -> None:
    """Outside of the transaction an index is built while others write."""
    create = "CREATE INDEX CONCURRENTLY IF NOT EXISTS jars_label ON jars (label)"
    statement = f'with op.get_context().autocommit_block():\n        op.execute("{create}")'
    assert rules(tmp_path, statement) == []


def test_methods_of_alembic_are_checked_as_well(tmp_path: Path) -> None:
    """It is their SQL that counts."""
    assert rules(tmp_path, 'op.drop_column("jars", "label")') == ["ban-drop-column"]


def test_exception_is_written_beside_its_statement(tmp_path: Path) -> None:
    """What no running version uses any more may go."""
    drop = "ALTER TABLE jars DROP COLUMN label"
    statement = f'op.execute("-- squawk-ignore ban-drop-column\\n{drop}")'
    assert rules(tmp_path, statement) == []


def test_migration_that_reads_is_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a database there is nothing to read, and a line says so."""
    assert rules(tmp_path, 'op.get_bind().exec_driver_sql("SELECT 1")') == []
    assert "0002_change.py is not checked" in capsys.readouterr().out


def test_line_says_what_breaks_which_rule(tmp_path: Path) -> None:
    """One line has the file, the rule, the reason, and the statement."""
    file = tmp_path / "0002_change.py"
    statement = 'op.execute("DROP TABLE jars")'
    file.write_text(MIGRATION.replace("{statement}", statement), encoding="utf-8")
    (line,) = check(file)
    assert line.startswith("0002_change.py: ban-drop-table: Dropping a table may break")
    assert line.endswith("(DROP TABLE jars;)")
