"""Whether the stores can be used; each outage has one record."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from src.utils.errors import APIError, UnavailableError

logger = logging.getLogger(__name__)
Check = Callable[[], Awaitable[None]]


class Store(Protocol):
    """A store that the service depends on."""

    async def is_alive(self) -> None:
        """Check that the store can be used; raises UnavailableError."""

    async def aclose(self) -> None:
        """Close the connections to the store."""

    def pool(self) -> dict[str, int]:
        """Return the numbers of connections by their state."""


class OutageLog:
    """Logs the start and the end of each outage of a store.

    Reads may succeed while writes are refused, so an outage ends when each operation that failed
    has succeeded again.
    """

    def __init__(self) -> None:
        self._failing: dict[str, set[str]] = defaultdict(set)

    def is_failing(self, store: str, operation: str) -> bool:
        """Return whether the operation failed when it was last tried."""
        return operation in self._failing[store]

    def failed(self, store: str, operation: str, exc: APIError) -> None:
        """Log an ERROR if this is the start of an outage."""
        if not self._failing[store]:
            fields = {"error": type(exc).__name__, **exc.fields, "store": store}
            logger.error("store is unavailable", exc_info=exc, extra=fields)
        self._failing[store].add(operation)

    def succeeded(self, store: str, operation: str) -> None:
        """Log an INFO if this is the end of an outage."""
        if operation not in self._failing[store]:
            return
        self._failing[store].discard(operation)
        if not self._failing[store]:
            logger.info("store is available again", extra={"store": store})


class Readiness:
    """Checks the stores.

    Attributes:
        stores: by name.
        outages: what is known of them.
        # copier: if "kubernetes" in deploy and stores
        has_passed: whether all of them could be used at some time.
        # copier: endif
    """

    def __init__(self) -> None:
        self.stores: dict[str, Store] = {}
        self.outages = OutageLog()
        # copier: if "kubernetes" in deploy and stores
        self.has_passed = False
        # copier: endif
        self._checks: dict[str, Sequence[Check]] = {}

    def add_store(self, name: str, store: Store, *checks: Check) -> None:
        """Check a store from now on, and close it at the end.

        Args:
            name: of the store.
            store: the store.
            checks: what it has to pass besides being alive; they raise UnavailableError.
        """
        self.stores[name] = store
        self._checks[name] = checks

    async def check(self) -> dict[str, bool]:
        """Return for each store whether it can be used."""
        results = await asyncio.gather(*map(self._check_store, self.stores))
        # copier: if "kubernetes" in deploy and stores
        if all(results):
            self.has_passed = True
        # copier: endif
        return dict(zip(self.stores, results, strict=True))

    async def aclose(self) -> None:
        """Close the connections to all stores."""
        for store in self.stores.values():
            await store.aclose()

    async def _check_store(self, name: str) -> bool:
        try:
            await self.stores[name].is_alive()
            for check in self._checks[name]:
                await check()
        except UnavailableError as exc:
            self.outages.failed(name, "readiness", exc)
            return False
        self.outages.succeeded(name, "readiness")
        return True
