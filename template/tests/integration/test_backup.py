"""What was backed up can be put back."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg

from src.config import ROOT
from tests.support.migrations import own_database


def run(command: str, url: str, file: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command that takes a file, on a database."""
    return subprocess.run(
        [sys.executable, "-m", "dev.commands", command, str(file)],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


async def execute(url: str, *statements: str) -> int:
    """Execute statements, and return the number that the last one finds."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            result = await connection.fetchval(statement)
    finally:
        await connection.close()
    return int(result or 0)


def test_what_was_lost_comes_back(tmp_path: Path) -> None:
    """A backup holds the rows, and restoring it needs a yes."""
    file = tmp_path / "before.dump"
    count = "SELECT count(*) FROM jars"
    with own_database() as url:
        fill = "INSERT INTO jars SELECT 'jar ' || n FROM generate_series(1, 1000) AS n"
        asyncio.run(execute(url, "CREATE TABLE jars (label text UNIQUE)", fill))
        done = run("backup", url, file)
        assert done.returncode == 0, done.stderr
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        asyncio.run(execute(url, "DELETE FROM jars"))
        refused = run("restore", url, file, "no\n")
        assert refused.returncode == 1
        assert asyncio.run(execute(url, count)) == 0
        done = run("restore", url, file, "yes\n")
        assert done.returncode == 0, done.stderr
        assert asyncio.run(execute(url, count)) == 1000
    assert "password" not in done.stdout + done.stderr


def test_missing_backup_is_one_line(tmp_path: Path) -> None:
    """A file that is not there is named."""
    done = run("restore", os.environ["DATABASE_URL"], tmp_path / "no.dump")
    assert done.returncode == 1
    assert done.stderr == f"there is no {tmp_path}/no.dump: make restore file=...\n"
