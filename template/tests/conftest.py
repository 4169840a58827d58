"""Fixtures and plugins for all tests; what several test modules share is in `tests/support/`."""

import pytest

pytest_plugins = [
    "tests.support.service",
    # copier: if "opentelemetry" in observability or "sentry" in observability
    "tests.support.sink",
    # copier: endif
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on the event loop that the service uses."""
    return "asyncio"
