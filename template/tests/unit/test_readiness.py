"""Readiness asks every store, and tells of each outage once."""

import logging

import pytest

from src.services.readiness import Readiness
from src.utils.errors import UnavailableError


class FakeStore:
    """A store that is there or away."""

    def __init__(self) -> None:
        self.away, self.closed = False, False

    async def is_alive(self) -> None:
        """Raise when away."""
        if self.away:
            raise UnavailableError

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True


async def test_outage_and_return_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is asked, there is one ERROR when a store goes and one INFO when it is back."""
    caplog.set_level(logging.INFO)
    readiness, store = Readiness(), FakeStore()
    readiness.stores |= {"shelf": store, "cellar": FakeStore()}
    answers = []
    for store.away in (False, True, True, False, False):
        answers.append(await readiness.check())
    assert answers == [{"shelf": up, "cellar": True} for up in (True, False, False, True, True)]
    assert [(r.levelname, r.__dict__["store"]) for r in caplog.records] == [
        ("ERROR", "shelf"),
        ("INFO", "shelf"),
    ]


async def test_all_stores_are_closed() -> None:
    """Closing it closes every store."""
    readiness = Readiness()
    stores = readiness.stores = {"shelf": FakeStore(), "cellar": FakeStore()}
    await readiness.aclose()
    assert [store.closed for store in stores.values()] == [True, True]
