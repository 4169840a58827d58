"""Fixtures and plugins for all tests; what several test modules share is in `tests/support/`."""

import os
from collections.abc import Iterator

import pytest

pytest_plugins = [
    # copier: if auth != "none"
    "tests.support.callers",
    # copier: endif
    "tests.support.service",
    "tests.support.shared",
    # copier: if "opentelemetry" in observability or "sentry" in observability
    "tests.support.sink",
    # copier: endif
]

# On these settings tests rely, whatever their defaults and `.env` become.
SETTINGS = {
    "ENVIRONMENT": "development",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
    "REQUEST_ID_HEADER": "X-Request-ID",
    "CORS_ORIGINS": "[]",
    "MAX_BODY_SIZE": "1000000",
    "WORKERS": "1",
}


def pytest_xdist_auto_num_workers() -> int:
    """Run two tests a core at a time, since most of them wait for other processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def settings() -> Iterator[None]:
    """Pin settings, for services in this process and in others."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on the event loop that the service uses."""
    return "asyncio"
