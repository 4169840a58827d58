"""Two servers of a store, and one address that moves from one to the other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.stores import Victim, open_folder


@dataclass(frozen=True)
class Servers:
    """The URLs of two servers."""

    old: str
    new: str


@contextlib.contextmanager
def two_servers(store: str) -> Iterator[Servers]:
    """Run two servers of a store, with the same password, until the end of the block."""
    with open_folder() as folder, contextlib.ExitStack() as stack:
        urls = {}
        for name in ("new", "old"):  # stopped the other way round: a primary waits for replicas
            password = folder / name / store / "password"
            password.parent.mkdir(parents=True)
            password.write_text("the-same", encoding="ascii")
            victim = Victim(store, folder / name)
            urls[name] = victim.start()
            stack.callback(victim.stop)
        yield Servers(**urls)


class Forwarder:
    """Forwards new connections to a server that can be replaced.

    Attributes:
        target: the URL of the server; open connections stay with the one before.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL of the server, by the address of the forwarder."""
        parts = urlsplit(self.target)
        credentials = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{credentials}@127.0.0.1:{self._port}").geturl()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Forwarder"]:
        """Forward connections until the end of the block."""
        server = await asyncio.start_server(self._forward, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target)
        to_server = await asyncio.open_connection(parts.hostname, parts.port)
        for source, sink in ((reader, to_server[1]), (to_server[0], writer)):
            task = asyncio.create_task(_copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
    finally:
        sink.close()
