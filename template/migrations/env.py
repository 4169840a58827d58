"""Bring the tables to the newest version; `alembic upgrade head` runs this."""

import asyncio
import sys
from typing import Any

import asyncpg
from alembic import command, context
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from src.config import Settings, load_settings
from src.connectors.postgres import DRIVER_ERRORS
from src.utils.postgres_url import postgres_options

LOCK = 4_242_424_242  # so that of several that start at once one migrates and the others wait


def migrate(connection: Connection) -> list[MigrationInfo]:
    """Run the migrations in one transaction, and return those that were run."""
    steps: list[MigrationInfo] = []

    def add_step(step: MigrationInfo, **_: Any) -> None:
        steps.append(step)

    context.configure(connection=connection, on_version_apply=add_step)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        # Whoever needs a table waits behind a migration that waits for it; better try again later.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()
    return steps


def report(steps: list[MigrationInfo]) -> None:
    """Print a line for each migration that was run, or that there was none to apply."""
    for step in steps:
        if step.is_migration and step.up_revision:
            done = "applied" if step.is_upgrade else "took back"
            message = " ".join(step.up_revision.doc.split())
            context.config.print_stdout(f"{done} {step.up_revision_id}: {message}")
    options = context.config.cmd_opts
    if not steps and options and options.cmd[0] is command.upgrade:
        context.config.print_stdout("no migration to apply")


async def connect(settings: Settings) -> asyncpg.Connection:
    """Connect to the service's own database.

    Statements do not stay prepared, so that it works behind PgBouncer as well.
    """
    options = postgres_options(str(settings.database_url.get_secret_value()))
    return await asyncpg.connect(
        options.dsn, timeout=settings.database_timeout, statement_cache_size=0
    )


def describe(exc: Exception, settings: Settings) -> str:
    """Return what keeps the migrations from running, and where to look."""
    address = settings.database_url.get_secret_value().hosts()[0]
    host = address["host"]
    port = address["port"] or 5432
    reason = type(exc).__name__
    if isinstance(exc, OSError):
        return f"PostgreSQL is not reachable at {host}:{port} ({reason}): see DATABASE_URL"
    return f"PostgreSQL at {host}:{port} refuses the connection ({reason}): see DATABASE_URL"


async def main(settings: Settings) -> str | None:
    """Migrate the database; return what keeps it from that, None if nothing does."""
    try:
        driver_connection = await connect(settings)
    except DRIVER_ERRORS as exc:
        return f"cannot migrate: {describe(exc, settings)}"

    async def get_connection(**_: Any) -> asyncpg.Connection:
        return driver_connection

    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        connect_args={
            "async_creator_fn": get_connection,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,  # without a name nothing stays prepared
        },
    )
    async with engine.connect() as connection:
        steps = await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()
    report(steps)  # what is not committed was not applied
    return None


problem = asyncio.run(main(load_settings()))
if problem:
    sys.exit(problem)
