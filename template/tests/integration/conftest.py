"""Real stores for the tests, and services that run on them."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
from collections.abc import Iterator

import pytest

# copier: if stores
from dev import stores
# copier: endif
from tests.support.service import FAULTY, Service, copy_with, running
# copier: if "opentelemetry" in observability or "sentry" in observability
from tests.support.sink import receiving
# copier: endif


# copier: if false
# isort: on
# fmt: on
# copier: endif
# copier: if stores
@pytest.fixture(scope="session", autouse=True)
def own_stores() -> Iterator[None]:
    """Stores for the tests alone: started here or, in those that the environment names, made here."""
    with stores.for_tests() as settings, pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        yield


# copier: endif
# copier: if "opentelemetry" in observability or "sentry" in observability
@pytest.fixture
def sink() -> Iterator[str]:
    """Where a receiver listens, in a process of its own."""
    with receiving() as address:
        yield address


# copier: endif
@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with routes that go wrong."""
    folder = copy_with(FAULTY, tmp_path_factory.mktemp("faulty"))
    command = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")
    with running(*command, cwd=folder, env={"CORS_ORIGINS": '["http://a.example"]'}) as service:
        yield service
