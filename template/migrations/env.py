"""Brings the database to the newest version; `alembic upgrade head` runs this."""

import asyncio
import sys

import asyncpg
from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from src.config import load_settings

LOCK = 4_242_424_242  # so that of several that start at once one migrates and the others wait


def migrate(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        context.run_migrations()


async def main() -> None:
    """Connect to the service's own database and migrate it."""
    settings = load_settings()

    async def connect() -> asyncpg.Connection:
        url = str(settings.database_url.get_secret_value())
        return await asyncpg.connect(url, timeout=settings.database_timeout)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
        await connection.commit()
    await engine.dispose()


try:
    asyncio.run(main())
except (OSError, TimeoutError) as exc:
    sys.exit(f"cannot migrate: PostgreSQL is not reachable ({type(exc).__name__})")
