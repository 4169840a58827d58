"""A cache in Redis that only saves time: what can be had without it is had without it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from src.clients.redis import BaseRedisClient
from src.utils.errors import APIError, StoreRefusedError, UnavailableError

logger = logging.getLogger(__name__)
Value = TypeVar("Value")


class Outages(Protocol):
    """Logs the start and the end of each outage, such as an `OutageLog`."""

    def is_failing(self, store: str, operation: str) -> bool:
        """Return whether the operation failed when it was last tried."""

    def failed(self, store: str, operation: str, exc: APIError) -> None:
        """Note that an operation has failed."""

    def succeeded(self, store: str, operation: str) -> None:
        """Note that an operation has succeeded."""


@dataclass(frozen=True)
class Hit(Generic[Value]):
    """A value that was in the cache, and may be None."""

    value: Value


class Cache:
    """Returns what was loaded before, and loads what was not.

    Args:
        client: reads and writes.
        outages: where outages of Redis are logged, once each.
    """

    def __init__(self, client: BaseRedisClient, outages: Outages) -> None:
        self._client = client
        self._outages = outages
        self._loading: dict[str, asyncio.Task[Any]] = {}

    async def cached(
        self,
        key: str,
        ttl: int,
        load: Callable[[], Awaitable[Value]],
        adapter: TypeAdapter[Value],
    ) -> Value:
        """Return the value of a key, which is loaded where there is none that is valid.

        Of callers that want the same at the same time, in this process, one loads, and all get
        what it has loaded, or its error. A caller that leaves does not stop the others.

        Args:
            key: by which the value is found again.
            ttl: for which it may be returned, in seconds.
            load: is called without the cache, and when Redis is unavailable.
            adapter: writes the value as JSON and validates it, such as `TypeAdapter(Customer)`.
        """
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.create_task(self._read_or_load(key, ttl, load, adapter))
            self._loading[key] = loading
        value: Value = await asyncio.shield(loading)
        return value

    async def forget(self, key: str) -> None:
        """Delete a value that has changed; while Redis is unavailable it stays until its end."""
        self._loading.pop(key, None)
        try:
            await self._client.delete(key)
        except (UnavailableError, StoreRefusedError) as exc:
            self._outages.failed("redis", "delete", exc)
        else:
            self._outages.succeeded("redis", "delete")

    async def _read_or_load(
        self,
        key: str,
        ttl: int,
        load: Callable[[], Awaitable[Value]],
        adapter: TypeAdapter[Value],
    ) -> Value:
        task = asyncio.current_task()
        try:
            hit = await self._read(key, adapter)
            if hit:
                return hit.value
            value = await load()
            if self._loading.get(key) is task:  # nobody has said meanwhile that it has changed
                await self._write(key, adapter.dump_json(value), ttl)
            return value
        finally:
            if self._loading.get(key) is task:
                del self._loading[key]

    async def _read(self, key: str, adapter: TypeAdapter[Value]) -> Hit[Value] | None:
        try:
            text = await self._client.read(key)
        except UnavailableError as exc:
            self._outages.failed("redis", "read", exc)
            return None
        except StoreRefusedError as exc:  # the value is of another type; writing replaces it
            logger.warning("cached value cannot be read", exc_info=exc, extra={"key": key})
            return None
        self._outages.succeeded("redis", "read")
        return None if text is None else self._parse(key, text, adapter)

    def _parse(self, key: str, text: bytes, adapter: TypeAdapter[Value]) -> Hit[Value] | None:
        """Return a value if it is valid: an earlier version of the service may have written it."""
        try:
            return Hit(adapter.validate_json(text))
        except ValidationError:
            logger.warning("cached value is not valid", extra={"key": key})
            return None

    async def _write(self, key: str, text: bytes, ttl: int) -> None:
        if self._outages.is_failing("redis", "read"):
            return  # it would only wait for the timeout once more
        try:
            await self._client.write(key, text, ttl)
        except (UnavailableError, StoreRefusedError) as exc:
            self._outages.failed("redis", "write", exc)
        else:
            self._outages.succeeded("redis", "write")
