"""Bring the tables of a database to the newest version, as a deployment does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.service import ROOT


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
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        check=False,
        cwd=folder,
        env=os.environ | {"DATABASE_URL": url} | dict(settings or {}),
        capture_output=True,
        text=True,
    )


def migrate(url: str) -> None:
    """Run the migrations of a database; the test fails where they fail."""
    process = run_migrations(url)
    assert process.returncode == 0, process.stderr
