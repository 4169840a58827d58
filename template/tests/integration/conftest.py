"""Real stores for the tests, and services that run on them."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import stores
from tests.service import Service, copy_with, running


@pytest.fixture(scope="session", autouse=True)
def own_stores() -> Iterator[None]:
    """Stores of our own; where the environment names some, a database and a prefix of our own in them."""
    with stores.running() as urls, pytest.MonkeyPatch.context() as environment:
        for name, url in urls.items():
            environment.setenv(name, url)
        yield


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with routes that go wrong."""
    folder = copy_with(Path(__file__).with_name("faulty.py"), tmp_path_factory.mktemp("faulty"))
    with running(
        "-m", "uvicorn", "src.faulty:app", "--port", "PORT", cwd=folder, CORS_ORIGINS='["http://a.example"]'
    ) as service:
        yield service
