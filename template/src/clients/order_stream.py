"""The Redis stream in which orders are announced to workers; all of it can be lost."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import time
from typing import Any

from src.connectors.redis import RedisConnector
from src.utils.errors import StoreRefusedError

GROUP = "workers"
CONSUMER = "worker"  # one name for all: what matters is how long a message is idle
MAX_LENGTH = 1_000  # above it no more orders are announced, so that Redis is not filled with them


@dataclass(frozen=True)
class StreamMessage:
    """A message as Redis has it."""

    id: str
    fields: dict[bytes, bytes]


class OrderStream:
    """A stream that workers share by a consumer group.

    Args:
        connector: to Redis.
        name: of the stream.
        idle_timeout: after which a message is taken for left behind, in seconds.
        read_timeout: how long to wait for new messages, in seconds.
    """

    def __init__(
        self, connector: RedisConnector, name: str, *, idle_timeout: float, read_timeout: float
    ) -> None:
        self.name = name
        self._connector = connector
        self._idle_ms = int(idle_timeout * 1000)
        self._block_ms = int(read_timeout * 1000)

    async def create(self) -> None:
        """Create the stream and its group, unless they exist."""
        with suppress(StoreRefusedError):
            await self._connector.call("XGROUP", "CREATE", self.name, GROUP, "0", "MKSTREAM")

    async def room(self) -> int:
        """Return how many messages more there should be at most."""
        length: int = await self._connector.call("XLEN", self.name)
        return max(MAX_LENGTH - length, 0)

    async def add(self, fields: Mapping[str, str]) -> None:
        """Add a message."""
        flat = [part for pair in fields.items() for part in pair]
        await self._connector.call("XADD", self.name, "*", *flat)

    async def read(self, count: int) -> list[StreamMessage]:
        """Return new messages, as soon as there are some; none after `read_timeout`."""
        streams: Any = await self._connector.call(
            *("XREADGROUP", "GROUP", GROUP, CONSUMER),
            *("COUNT", count, "BLOCK", self._block_ms),
            *("STREAMS", self.name, ">"),
        )
        messages = []
        for _, entries in streams:
            for message_id, fields in entries:
                messages.append(StreamMessage(message_id.decode(), fields))
        return messages

    async def drop_leftovers(self, count: int) -> None:
        """Drop messages whose worker has died; PostgreSQL announces their orders again."""
        claimed: Any = await self._connector.call(
            *("XAUTOCLAIM", self.name, GROUP, CONSUMER),
            *(self._idle_ms, "0-0", "COUNT", count),
        )
        entries = claimed[1]
        if entries:
            await self.drop(*(message_id for message_id, _ in entries))

    async def drop(self, *message_ids: str | bytes) -> None:
        """Acknowledge and delete messages."""
        await self._connector.call("XACK", self.name, GROUP, *message_ids)
        await self._connector.call("XDEL", self.name, *message_ids)

    async def lag(self) -> float:
        """Return the age of the oldest message, in seconds."""
        oldest: Any = await self._connector.call("XRANGE", self.name, "-", "+", "COUNT", 1)
        if not oldest:
            return 0.0
        message_id: bytes = oldest[0][0]
        milliseconds = int(message_id.split(b"-")[0])
        return max(time() - milliseconds / 1000, 0.0)
