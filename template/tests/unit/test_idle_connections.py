"""An idle connection is closed when uvicorn's `timeout_keep_alive` is over, and not before."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.responses import Response
from uvicorn import Config
from uvicorn.server import ServerState

from src.airtight.server import LimitedHttpProtocol, Limits

KEEP_ALIVE = 5  # seconds
REQUEST = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n"


@asynccontextmanager
async def answered() -> AsyncIterator[LimitedHttpProtocol]:
    """Open a connection, and have a request answered whose body has not arrived."""
    config = Config(Response(status_code=405), timeout_keep_alive=KEEP_ALIVE)
    state = ServerState()
    loop = asyncio.get_running_loop()
    ours, client = socket.socketpair()
    client.setblocking(False)
    transport, protocol = await loop.connect_accepted_socket(
        lambda: LimitedHttpProtocol(
            limits=Limits(), config=config, server_state=state, app_state={}
        ),
        ours,
    )
    with client:
        await loop.sock_sendall(client, REQUEST)
        assert (await loop.sock_recv(client, 65_536)).startswith(b"HTTP/1.1 405 ")
        yield protocol
    transport.close()


def check_for(protocol: LimitedHttpProtocol, seconds: int) -> None:
    """Let a connection be checked once a second, for some seconds."""
    for _ in range(seconds):
        protocol.check(1.0)


async def test_idle_connection_is_closed() -> None:
    """The first check is up to a second early, so a connection is closed by the one after the last."""
    async with answered() as protocol:
        check_for(protocol, KEEP_ALIVE)
        assert not protocol.transport.is_closing()
        check_for(protocol, 1)
        assert protocol.transport.is_closing()


async def test_client_that_still_sends_a_body_is_not_idle() -> None:
    """It sees the response when all is sent; a reset meanwhile would hide that."""
    async with answered() as protocol:
        for _ in range(10):
            protocol.data_received(b"x")
            check_for(protocol, KEEP_ALIVE)
        assert not protocol.transport.is_closing()
