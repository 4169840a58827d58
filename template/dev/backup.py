"""Backups of the database of the environment, or of that of `make dev`."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dev import OWN, stores
from dev.postgres import own_program
from dev.programs import without_password
from src.utils.postgres_url import postgres_options

FILE = "backup.dump"


def backup(file: str = "") -> None:
    """Write all that the database holds to a file, which only its owner may read.

    Args:
        file: `backup.dump` if it has no name.
    """
    file = file or FILE
    os.umask(0o077)
    _run("pg_dump", "--format=custom", f"--file={file}")
    print(f"wrote {file}")


def restore(file: str = "") -> None:
    """Put the tables of a backup in place of those of the database, if that is confirmed.

    Args:
        file: `backup.dump` if it has no name.
    """
    file = file or FILE
    if not Path(file).is_file():
        sys.exit(f"there is no {file}: make restore file=...")
    question = f"This replaces the tables by those in {file}. Type yes to go on: "
    print(question, end="", flush=True)
    if sys.stdin.readline().strip() != "yes":
        sys.exit("nothing was restored")
    # All of it or, where something fails, nothing.
    _run("pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", file)
    print(f"restored {file}")


def _run(program: str, *arguments: str) -> None:
    with stores.settings(OWN) as settings:
        url = str(settings.database_url.get_secret_value())
        address = urlsplit(postgres_options(url).dsn)
        env = os.environ | {"PGPASSWORD": unquote(address.password or "")}
        command = [own_program(program), f"--dbname={without_password(address)}", *arguments]
        code = subprocess.run(command, check=False, env=env).returncode
    if code:
        sys.exit(code)
