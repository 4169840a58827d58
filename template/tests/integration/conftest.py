"""Real stores for the integration tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import stores
# copier: if "postgres" in stores
from tests.support.migrations import migrate
# copier: endif
from tests.support.shared import FOLDER


@pytest.fixture(scope="session", autouse=True)
def own_stores() -> Iterator[None]:
    """Use a part of the stores that all processes of the tests share."""
    folder = Path(os.environ[FOLDER])
    with stores.for_tests(folder) as settings, pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        # copier: if "postgres" in stores
        migrate(settings["DATABASE_URL"])
        # copier: endif
        yield
