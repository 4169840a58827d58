"""Bring the tables of a database to the newest version, as a deployment does."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dev.postgres import new_database
from tests.support.service import ROOT, run


def run_migrations(url: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the migrations, and return the process with its exit code and output.

    Args:
        url: of the database.
        settings: by the names of their environment variables.
    """
    return run_alembic(url, "upgrade", "head", settings=settings)


def run_alembic(
    url: str, *arguments: str, folder: Path = ROOT, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of Alembic, and return the process with its exit code and output.

    Args:
        url: of the database.
        arguments: the command and what it takes.
        folder: of the service.
        settings: by the names of their environment variables.
    """
    env = {"DATABASE_URL": url} | dict(settings or {})
    return run("-m", "alembic", *arguments, cwd=folder, env=env)


def migrate(url: str) -> None:
    """Run the migrations of a database; the test fails where they fail."""
    process = run_migrations(url)
    assert process.returncode == 0, process.stderr


@contextlib.contextmanager
def own_database() -> Iterator[str]:
    """Create a database with the service's tables, yield its URL, and drop it."""
    with new_database(os.environ["DATABASE_URL"]) as url:
        migrate(url)
        yield url
