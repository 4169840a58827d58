"""Behind PgBouncer in transaction mode all works, if no statement stays prepared."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dev.ports import free_port
from src.config import load_settings
from src.connectors.postgres import PostgresConnector
from src.utils.errors import StoreRefusedError
from tests.support.migrations import run_migrations
from tests.support.stores import open_folder

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER_CONNECTIONS = 3  # fewer than the service has, so that they are shared
REQUESTS = 80

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None,
    reason="pgbouncer is not installed: `apt-get install pgbouncer` to test the service behind it",
)


def write_settings(folder: Path, port: int) -> Path:
    """Write the settings of a PgBouncer in front of the tests' PostgreSQL, and return the file."""
    url = urlsplit(os.environ["DATABASE_URL"])
    server = f"host={url.hostname} port={url.port} user={url.username} password={url.password}"
    lines = [
        "[databases]",
        f"* = {server}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        "pool_mode = transaction",
        f"default_pool_size = {SERVER_CONNECTIONS}",
        "max_client_conn = 100",
        "",
    ]
    file = folder / "pgbouncer.ini"
    file.write_text("\n".join(lines), encoding="utf-8")
    file.chmod(0o644)
    return file


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until PgBouncer accepts connections; fail the test if it exits before."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
    pytest.fail("PgBouncer did not start")


@pytest.fixture(scope="module")
def pgbouncer() -> Iterator[str]:
    """Run PgBouncer, and yield the URL of the tests' database behind it."""
    port = free_port()
    options: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which it refuses to run
        options["user"] = "nobody"
    with open_folder() as folder:
        command = [str(PGBOUNCER), "--quiet", str(write_settings(folder, port))]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, **options) as process:
            wait_until_listening(process, port)
            database = urlsplit(os.environ["DATABASE_URL"])
            yield database._replace(netloc=f"app:x@127.0.0.1:{port}").geturl()
            process.terminate()


@pytest.fixture(params=["setting", "parameter"])
async def connector(
    request: pytest.FixtureRequest, pgbouncer: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PostgresConnector]:
    """A connector without a cache of statements, by each of the two ways to turn it off."""
    if request.param == "setting":
        monkeypatch.setenv("DATABASE_STATEMENT_CACHE_SIZE", "0")
    else:
        pgbouncer += "?pgbouncer=true"
    monkeypatch.setenv("DATABASE_URL", pgbouncer)
    settings = load_settings()
    connector = PostgresConnector(
        settings.database_url.get_secret_value(),
        settings.database_pool_size,
        timeout=6,
        statement_cache_size=settings.database_statement_cache_size,
    )
    yield connector
    await connector.aclose()


async def test_requests_share_connections(connector: PostgresConnector) -> None:
    """Of many statements at the same time, with values and of all kinds, each one works."""

    async def use(number: int) -> int:
        value = await connector.fetchval("SELECT $1::int", number)
        rows = await connector.fetch("SELECT generate_series(1, $1::int) AS n", 3)
        assert [row["n"] for row in rows] == [1, 2, 3]
        async with connector.transaction() as connection:
            await connection.execute("SELECT pg_sleep(0.001)")
            same: int = await connection.fetchval("SELECT $1::int + $2::int", value, 0)
        return same

    results = await asyncio.gather(*(use(number) for number in range(REQUESTS)))
    assert results == list(range(REQUESTS))


async def test_failures_leave_connections_usable(connector: PostgresConnector) -> None:
    """A statement that is refused, and one that is given up, disturb nobody else's."""

    async def fail() -> None:
        with pytest.raises(StoreRefusedError):
            await connector.execute("SELECT nothing")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connector.execute("SELECT pg_sleep(30)"), 0.1)

    async def use(number: int) -> None:
        assert await connector.fetchval("SELECT $1::int", number) == number

    await asyncio.gather(*(fail() for _ in range(5)), *(use(number) for number in range(20)))
    await asyncio.gather(*(use(number) for number in range(REQUESTS)))


async def test_probe_works(connector: PostgresConnector) -> None:
    """The service is ready behind PgBouncer."""
    await connector.is_alive()


def test_migrations_work(pgbouncer: str) -> None:
    """Migrations run behind PgBouncer again and again, without a setting."""
    for _ in range(SERVER_CONNECTIONS):
        process = run_migrations(pgbouncer)
        assert process.returncode == 0, process.stderr
