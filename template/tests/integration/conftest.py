"""Real stores for the integration tests."""

from collections.abc import Iterator

import pytest

from dev import stores


@pytest.fixture(scope="session", autouse=True)
def own_stores() -> Iterator[None]:
    """Run stores for the tests alone, or create a part for them in the ones that are configured."""
    with stores.for_tests() as settings, pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        yield
