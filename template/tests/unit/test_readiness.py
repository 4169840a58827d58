"""Readiness pings every store, and logs each outage once."""

import logging

import pytest

from src.services.readiness import Readiness
from src.utils.errors import UnavailableError


class FakeStore:
    """A store that can be unavailable."""

    def __init__(self) -> None:
        self.is_available = True
        self.is_closed = False

    async def is_alive(self) -> None:
        """Raise an error while the store is unavailable."""
        if not self.is_available:
            raise UnavailableError

    async def aclose(self) -> None:
        """Note that the store was closed."""
        self.is_closed = True

    def pool(self) -> dict[str, int]:
        """Return no connections."""
        return {}


async def test_outage_and_recovery_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However often stores are pinged, an outage is one ERROR, and its end is one INFO."""
    caplog.set_level(logging.INFO)
    readiness = Readiness()
    store = FakeStore()
    readiness.add_store("shelf", store)
    readiness.add_store("cellar", FakeStore())
    for is_available in (True, False, False, True, True):
        store.is_available = is_available
        states = await readiness.check()
        assert states == {"shelf": is_available, "cellar": True}
    outage, recovery = caplog.records
    assert outage.levelname == "ERROR"
    assert recovery.levelname == "INFO"
    for record in caplog.records:
        assert vars(record)["store"] == "shelf"


# copier: if "kubernetes" in deploy and stores
async def test_what_has_passed_once_stays_so() -> None:
    """A replica has started when all stores could be used, whatever becomes of them later."""
    readiness = Readiness()
    store = FakeStore()
    store.is_available = False
    readiness.add_store("shelf", store)
    passed = []
    for is_available in (False, True, False):
        store.is_available = is_available
        await readiness.check()
        passed.append(readiness.has_passed)
    assert passed == [False, True, True]


# copier: endif
async def test_all_stores_are_closed() -> None:
    """To close the readiness closes every store."""
    readiness = Readiness()
    shelf = FakeStore()
    cellar = FakeStore()
    readiness.add_store("shelf", shelf)
    readiness.add_store("cellar", cellar)
    await readiness.aclose()
    assert shelf.is_closed
    assert cellar.is_closed
