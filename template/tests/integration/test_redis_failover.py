"""After a failover of Redis the service finds the new primary."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pydantic import RedisDsn

from src.connectors.redis import RedisConnector
from src.utils.errors import StoreUnavailableError
from tests.support.failover import Forwarder, Servers, two_servers

CONNECTIONS = 3


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Two servers."""
    with two_servers("redis") as servers:
        yield servers


@pytest.fixture
async def address(servers: Servers) -> AsyncIterator[Forwarder]:
    """The address of the primary."""
    async with Forwarder(servers.old).running() as forwarder:
        yield forwarder


@pytest.fixture
async def connector(address: Forwarder) -> AsyncIterator[RedisConnector]:
    """A connector whose pool is full of connections to the old primary."""
    connector = RedisConnector(RedisDsn(address.url), CONNECTIONS, 2)
    await asyncio.gather(*(connector.call("BLPOP", "no", "0.1") for _ in range(CONNECTIONS)))
    assert connector.pool()["idle"] == CONNECTIONS
    yield connector
    await connector.aclose()


def demote(servers: Servers, address: Forwarder) -> None:
    """Make the old primary a replica of the new one; connections to it stay open."""
    new = urlsplit(servers.new)
    with redis.Redis.from_url(servers.old) as client:
        client.config_set("masterauth", new.password or "")
        client.execute_command("REPLICAOF", new.hostname, new.port)
    address.target = servers.new


async def write(connector: RedisConnector, name: str, count: int) -> list[Any]:
    """Write values at the same time, and return the results or errors."""
    calls = [connector.call("SET", f"{name}-{number}", "x") for number in range(count)]
    results: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    return results


async def test_next_write_reaches_the_new_primary(
    servers: Servers, address: Forwarder, connector: RedisConnector
) -> None:
    """The first write is a 503, and no connection to the old primary is used after it."""
    demote(servers, address)
    with pytest.raises(StoreUnavailableError) as caught:
        await connector.call("SET", "first", "x")
    assert caught.value.status_code == 503
    assert caught.value.reason == "READONLY"
    assert await write(connector, "next", CONNECTIONS) == [True] * CONNECTIONS
    with redis.Redis.from_url(servers.new) as client:
        assert len(client.keys("next-*")) == CONNECTIONS


async def test_connections_in_use_are_left_as_well(
    servers: Servers, address: Forwarder, connector: RedisConnector
) -> None:
    """Writes that find the old primary read-only at the same time leave no connection to it."""
    demote(servers, address)
    failed = await write(connector, "first", CONNECTIONS)
    assert {type(result) for result in failed} == {StoreUnavailableError}
    count = 2 * CONNECTIONS
    assert await write(connector, "next", count) == [True] * count
