"""After a failover of PostgreSQL the service finds the new primary."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from pydantic import PostgresDsn

from src.connectors.postgres import PostgresConnector
from src.utils.errors import PostgresConnectionNotAliveError, StoreUnavailableError
from tests.support.failover import Forwarder, Servers, two_servers

CONNECTIONS = 3
INSERT = "INSERT INTO notes VALUES ('x')"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Two servers with the same table."""
    with two_servers("postgres") as servers:
        for url in (servers.old, servers.new):
            asyncio.run(execute(url, "CREATE TABLE notes (text text)"))
        yield servers


@pytest.fixture
async def address(servers: Servers) -> AsyncIterator[Forwarder]:
    """The address of the primary."""
    async with Forwarder(servers.old).running() as forwarder:
        yield forwarder
    await set_read_only(servers.old, "off")


@pytest.fixture
async def connector(address: Forwarder) -> AsyncIterator[PostgresConnector]:
    """A connector whose pool is full of connections to the old primary."""
    connector = PostgresConnector(PostgresDsn(address.url), CONNECTIONS, 5)
    sleeps = [connector.execute("SELECT pg_sleep(0.1)") for _ in range(CONNECTIONS)]
    await asyncio.gather(*sleeps)
    assert connector.pool()["idle"] == CONNECTIONS
    yield connector
    await connector.aclose()


async def execute(url: str, *statements: str) -> None:
    """Execute statements on a connection of its own."""
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def set_read_only(url: str, value: str) -> None:
    """Let a server refuse to write, or not, and wait until it does; its connections stay open."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    await connection.execute("SELECT pg_reload_conf()")
    while await connection.fetchval("SHOW transaction_read_only") != value:
        await connection.execute("SELECT pg_sleep(0.01)")
    await connection.close()


async def demote(servers: Servers, address: Forwarder) -> None:
    """Make the old primary read-only, and the new one reachable in its place."""
    address.target = servers.new
    await set_read_only(servers.old, "on")


async def test_next_write_reaches_the_new_primary(
    servers: Servers, address: Forwarder, connector: PostgresConnector
) -> None:
    """The first write is a 503, and no connection to the old primary is used after it."""
    await demote(servers, address)
    with pytest.raises(StoreUnavailableError) as caught:
        await connector.execute(INSERT)
    assert caught.value.status_code == 503
    assert caught.value.reason == "ReadOnlySQLTransactionError"
    writes = [connector.execute(INSERT) for _ in range(CONNECTIONS)]
    assert await asyncio.gather(*writes) == ["INSERT 0 1"] * CONNECTIONS


async def test_connections_in_use_are_left_as_well(
    servers: Servers, address: Forwarder, connector: PostgresConnector
) -> None:
    """Writes that find the old primary read-only at the same time leave no connection to it."""
    await demote(servers, address)
    writes = [connector.execute(INSERT) for _ in range(CONNECTIONS)]
    failed = await asyncio.gather(*writes, return_exceptions=True)
    assert {type(result) for result in failed} == {StoreUnavailableError}
    writes = [connector.execute(INSERT) for _ in range(2 * CONNECTIONS)]
    assert await asyncio.gather(*writes) == ["INSERT 0 1"] * 2 * CONNECTIONS


async def test_readiness_finds_the_new_primary_without_a_request(
    servers: Servers, address: Forwarder, connector: PostgresConnector
) -> None:
    """A balancer sends no request to what is not ready, so the probe itself leaves the old one."""
    await connector.is_alive()
    await demote(servers, address)
    with pytest.raises(PostgresConnectionNotAliveError):
        await connector.is_alive()
    await connector.is_alive()
    assert await connector.execute(INSERT) == "INSERT 0 1"


async def test_replica_is_good_enough_for_who_only_reads(
    servers: Servers, address: Forwarder
) -> None:
    """A connector that is told so uses a server that refuses to write."""
    await set_read_only(servers.old, "on")
    connector = PostgresConnector(PostgresDsn(address.url), 1, 5, read_only=True)
    await connector.is_alive()
    assert await connector.fetchval("SELECT count(*) FROM notes") >= 0
    await connector.aclose()
