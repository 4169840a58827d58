"""A migration that cannot connect ends with one line that says where to look."""

import os
import socket
from collections.abc import Iterator

import pytest

from dev.ports import free_port
from tests.support.migrations import run_migrations


def url_with(*, password: str = "", port: int = 0, database: str = "") -> str:
    """Return the URL of the tests' database with some parts replaced."""
    parts = os.environ["DATABASE_URL"].partition("://")[2]
    credentials, _, address = parts.rpartition("@")
    user, _, own_password = credentials.partition(":")
    host, _, path = address.partition("/")
    if port:
        host = f"127.0.0.1:{port}"
    return f"postgresql://{user}:{password or own_password}@{host}/{database or path}"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def assert_one_line(url: str, problem: str, code: int = 1) -> None:
    """Migrating ends with this exit code and one line, which shows no password."""
    process = run_migrations(url, DATABASE_TIMEOUT="1")
    assert process.returncode == code
    (line,) = process.stderr.splitlines()
    assert problem in line
    assert process.stdout == ""
    assert "hunter2" not in line


def test_wrong_password_is_one_line() -> None:
    """A wrong password ends with exit code 1 and names the setting."""
    problem = "refuses the connection (InvalidPasswordError): see DATABASE_URL"
    assert_one_line(url_with(password="hunter2"), problem)


def test_unknown_database_is_one_line() -> None:
    """A database that does not exist ends with exit code 1."""
    assert_one_line(
        url_with(database="no_such"), "refuses the connection (InvalidCatalogNameError)"
    )


def test_refused_connection_is_one_line() -> None:
    """A server that does not run ends with exit code 1 and names its address."""
    port = free_port()
    problem = f"cannot migrate: PostgreSQL is not reachable at 127.0.0.1:{port} ("
    assert_one_line(url_with(port=port), problem)


def test_server_that_sends_nothing_is_one_line(silent_port: int) -> None:
    """A server that does not respond ends with exit code 1 within the timeout."""
    assert_one_line(url_with(port=silent_port), "is not reachable")


def test_unknown_host_is_one_line() -> None:
    """A host that does not exist ends with exit code 1."""
    url = "postgresql://app:hunter2@no-such-host.invalid/app"
    assert_one_line(url, "PostgreSQL is not reachable at no-such-host.invalid:5432")


def test_server_without_tls_is_one_line() -> None:
    """A server that has no TLS although the URL wants it ends with exit code 1."""
    assert_one_line(url_with() + "?sslmode=require", "cannot migrate: PostgreSQL")


def test_wrong_url_is_one_line() -> None:
    """A URL that no driver would understand ends like a wrong setting of the service."""
    url = url_with() + "?sslmode=required"
    assert_one_line(url, "wrong settings: database_url: Value error, sslmode must be", code=3)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+asyncpg", "postgresql+psycopg"])
def test_migrations_run_with_the_urls_of_others(scheme: str) -> None:
    """The schemes and parameters of other tools work for migrations, too."""
    url = url_with().replace("postgresql", scheme, 1)
    process = run_migrations(f"{url}?sslmode=disable&pgbouncer=true&connect_timeout=5")
    assert process.returncode == 0, process.stderr
