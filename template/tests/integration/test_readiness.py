"""Readiness follows the stores, and tells of each outage once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Record, failures, running
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
    """Where stores of the test's own keep their data."""
    with open_folder() as folder:
        yield folder


def test_service_starts_without_its_stores_and_heals(folder: Path) -> None:
    """It starts while stores are away, says which ones, and is ready as soon as they are back."""
    victims = {name: Victim(name, folder) for name in STORES}
    urls = {STORES[name]: victim.start() for name, victim in victims.items()}
    for victim in victims.values():
        victim.stop()
    with running(env=urls) as service:

        def outages(records: list[Record]) -> list[tuple[str, str]]:
            return sorted((r["store"], r["level"]) for r in records if "store" in r)

        assert [
            service.get(path).status_code for path in ("/health/live", "/docs", "/openapi.json")
        ] == [200] * 3
        for _ in range(3):
            response = service.get("/health/ready")
            assert response.status_code == 503
            assert response.json() == {
                "status": "unavailable",
                "stores": dict.fromkeys(STORES, False),
            }
            assert response.headers["retry-after"] == "5"
        assert outages(service.records()) == sorted((name, "ERROR") for name in STORES)
        for name, victim in victims.items():
            victim.start()
            service.wait(lambda _, name=name: service.get("/health/ready").json()["stores"][name])  # type: ignore[misc]
        assert service.get("/health/ready").json() == {
            "status": "ok",
            "stores": dict.fromkeys(STORES, True),
        }
        assert outages(service.records()) == sorted(
            (name, level) for name in STORES for level in ("ERROR", "INFO")
        )
        assert {r["error"] for r in failures(service.records())} == {
            f"{name.title()}ConnectionNotAliveError" for name in STORES
        }
    for victim in victims.values():
        victim.stop()
