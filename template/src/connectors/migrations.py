"""The version of the tables in PostgreSQL, as Alembic notes it."""

import re
from dataclasses import dataclass
from pathlib import Path

from src.config import ROOT
from src.connectors.postgres import Executor
from src.utils.errors import SchemaOutdatedError, StoreRefusedError

FOLDER = ROOT / "migrations" / "versions"
SELECT_REVISION = "SELECT version_num FROM alembic_version"
ASSIGNMENT = re.compile(r"^(revision|down_revision)\b[^=\n]*= *(.+)$", re.MULTILINE)
QUOTED = re.compile(r"""["']([^"']+)["']""")


@dataclass(frozen=True)
class Migration:
    """A step from one revision of the tables to the next."""

    revision: str
    parents: frozenset[str]


class MigrationCheck:
    """Checks that the tables are as new as the service.

    A revision that the service does not know is newer: a deployment migrates the tables first, and
    instances of the earlier version go on.

    Args:
        database: the database with the tables.
        folder: the migrations.
    """

    def __init__(self, database: Executor, folder: Path = FOLDER) -> None:
        self._database = database
        migrations = read_migrations(folder)
        self._revisions = {migration.revision for migration in migrations}
        self._newest = ", ".join(find_heads(migrations))
        self._passed = not migrations

    async def check(self) -> None:
        """Check the revision of the tables, until it is the newest; raises SchemaOutdatedError."""
        if self._passed:
            return
        try:
            revision = await self._database.fetchval(SELECT_REVISION)
        except StoreRefusedError as exc:
            if exc.reason != "UndefinedTableError":
                return  # the service may not be allowed to read the table
            raise SchemaOutdatedError(None, self._newest) from exc.__cause__
        if revision != self._newest and revision in {None, *self._revisions}:
            raise SchemaOutdatedError(revision, self._newest)
        self._passed = True


def read_migrations(folder: Path) -> list[Migration]:
    """Return the migrations in a folder; they are not imported, since Alembic takes a second."""
    migrations = []
    for file in folder.glob("*.py"):
        assigned = dict(ASSIGNMENT.findall(file.read_text(encoding="utf-8")))
        for revision in QUOTED.findall(assigned.get("revision", "")):
            parents = QUOTED.findall(assigned.get("down_revision", ""))
            migrations.append(Migration(revision, frozenset(parents)))
    return migrations


def find_heads(migrations: list[Migration]) -> list[str]:
    """Return the revisions that no migration follows; there should be one at most."""
    revisions = {migration.revision for migration in migrations}
    parents = frozenset[str]().union(*(migration.parents for migration in migrations))
    return sorted(revisions - parents)
