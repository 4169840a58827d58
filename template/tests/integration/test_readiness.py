"""Readiness follows the stores, and each outage is logged once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

# copier: if "postgres" in stores
from tests.support.migrations import migrate
# copier: endif
from tests.support.service import Record, Service, failures, running
from tests.support.stores import Victim, open_folder

STORES = {
    # copier: if "postgres" in stores
    "postgres": "DATABASE_URL",
    # copier: endif
    # copier: if "redis" in stores and example != "orders"
    "redis": "REDIS_URL",
    # copier: endif
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where stores of the test's own store their data."""
    with open_folder() as folder:
        yield folder


def outages(service: Service) -> list[tuple[str, str]]:
    """Return the store and the level of each record about a store."""
    return sorted((r["store"], r["level"]) for r in service.records() if "store" in r)


def assert_outages(service: Service, *levels: str) -> None:
    """Each store has these records, which may be read a moment after they were written."""
    expected = sorted((name, level) for name in STORES for level in levels)
    service.wait(lambda _: len(outages(service)) >= len(expected))
    assert outages(service) == expected


def assert_ready(service: Service, status: int, body: dict[str, object]) -> None:
    """The probe has this status and body."""
    response = service.get("/health/ready")
    assert response.status_code == status
    assert response.json() == body
    if status == 503:
        assert response.headers["retry-after"] == "5"


def wait_until_available(service: Service, store: str) -> None:
    """Wait until the probe says that a store can be used."""

    def is_available(_: list[Record]) -> bool:
        available: bool = service.get("/health/ready").json()["stores"][store]
        return available

    service.wait(is_available)


def test_service_starts_without_its_stores_and_heals(folder: Path) -> None:
    """It starts while stores are unavailable, names them, and is ready as soon as they are back."""
    victims = {name: Victim(name, folder) for name in STORES}
    urls = {STORES[name]: victim.start() for name, victim in victims.items()}
    # copier: if "postgres" in stores
    migrate(urls["DATABASE_URL"])
    # copier: endif
    for victim in victims.values():
        victim.stop()
    with running(env=urls) as service:
        for path in ("/health/live", "/docs", "/openapi.json"):
            assert service.get(path).status_code == 200
        for _ in range(3):
            stores = dict.fromkeys(STORES, False)
            assert_ready(service, 503, {"status": "unavailable", "stores": stores})
        # copier: if "kubernetes" in deploy
        assert service.get("/health/started").status_code == 503
        # copier: endif
        assert_outages(service, "ERROR")
        for name, victim in victims.items():
            victim.start()
            wait_until_available(service, name)
        assert_ready(service, 200, {"status": "ok", "stores": dict.fromkeys(STORES, True)})
        assert_outages(service, "ERROR", "INFO")
        errors = {record["error"] for record in failures(service.records())}
        assert errors == {f"{name.title()}ConnectionNotAliveError" for name in STORES}
        # copier: if "kubernetes" in deploy
        for victim in victims.values():
            victim.stop()
        assert service.get("/health/ready").status_code == 503
        assert service.get("/health/started").status_code == 200
        # copier: endif
    for victim in victims.values():
        victim.stop()
