"""Whether the stores are there."""

import asyncio
import logging
from typing import Any

from src.airtight.logging import report_exception
from src.utils.errors import UnavailableError

logger = logging.getLogger(__name__)


class Readiness:
    """Asks stores for a sign of life, and tells of each outage once."""

    def __init__(self) -> None:
        self.stores: dict[str, Any] = {}
        self._away = set[str]()

    async def check(self) -> dict[str, bool]:
        """Return for each store whether it answers."""
        await asyncio.gather(*map(self._ask, self.stores))
        return {name: name not in self._away for name in self.stores}

    async def _ask(self, name: str) -> None:
        try:
            await self.stores[name].is_alive()
        except UnavailableError as exc:
            if name not in self._away:
                report_exception(exc, store=name)
            self._away.add(name)
        else:
            if name in self._away:
                logger.info("store is back", extra={"store": name})
            self._away.discard(name)

    async def aclose(self) -> None:
        """Close the connections to all stores."""
        for store in self.stores.values():
            await store.aclose()
