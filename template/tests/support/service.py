"""The service as a process of its own, and what it writes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dev.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
FAULTY = Path(__file__).with_name("faulty.py")
Record = dict[str, Any]


class Service:
    """A running service.

    Args:
        process: the process; its stdout and stderr are pipes.
        url: where it listens.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url
        self.client = httpx2.Client(
            base_url=url, timeout=30, limits=httpx2.Limits(max_connections=None)
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._news = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.lines), (process.stderr, self.errors))
            if stream is not None
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._news:
                lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def records(self, correlation_id: str | None = None) -> list[Record]:
        """Return what was logged so far, of one request or of all."""
        with self._news:
            found: list[Record] = [json.loads(line) for line in self.lines]
        return [r for r in found if correlation_id is None or r["correlation_id"] == correlation_id]

    def wait(self, condition: Callable[[list[Record]], Any], timeout: float = 60) -> list[Record]:
        """Return all records as soon as `condition` holds for them; fail after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition(self.records()):
            assert time.monotonic() < deadline, "not logged:\n" + "".join(
                self.lines[-20:] + self.errors[-20:]
            )
            with self._news:
                self._news.wait(0.5)
        return self.records()

    def told(self, correlation_id: str) -> list[Record]:
        """Return all records of a request that has ended, also those that come after its access line."""
        self.wait(lambda records: access(records, correlation_id))
        after = self.get("/health/live").headers["x-request-id"]
        self.wait(lambda records: access(records, after))
        return self.records(correlation_id)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Send a GET request."""
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request."""
        return self.client.request(method, path, **options)

    def wait_for_end(self) -> int:
        """Return the exit code of a process that ends by itself."""
        self.process.wait(timeout=60)
        return self.stop()

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit code, after all that it wrote was read."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(sent)
        code = self.process.wait(timeout=60)
        for reader in self._readers:
            reader.join(timeout=60)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


def access(records: list[Record], correlation_id: str) -> list[Record]:
    """Return the access lines of a request."""
    return [r for r in records if r["logger"] == "access" and r["correlation_id"] == correlation_id]


def failures(records: list[Record]) -> list[Record]:
    """Return the records that tell of a failure."""
    return [r for r in records if r["level"] in ("WARNING", "ERROR", "CRITICAL")]


def launch(
    *command: str,
    cwd: Path = ROOT,
    stdout: int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> Service:
    """Start a command of the service without waiting for it to be ready."""
    port = free_port()
    environment = {
        **os.environ,
        "PORT": str(port),
        "HOST": "127.0.0.1",
        "LOG_FORMAT": "json",
        **(env or {}),
    }
    arguments = [sys.executable, *(argument.replace("PORT", str(port)) for argument in command)]
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    return Service(process, f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def running(
    *command: str,
    cwd: Path = ROOT,
    stdout: int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> Iterator[Service]:
    """Run the service, by default in production form, until the end of the block."""
    service = launch(*(command or ("-m", "src.main")), cwd=cwd, stdout=stdout, env=env)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx2.TransportError):
                service.get("/health/live")
                break
            if service.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail("".join(service.lines + service.errors))
            time.sleep(0.05)
        yield service
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.stop()
        service.process.kill()


def copy_with(faulty: Path, folder: Path) -> Path:
    """Return a copy of the service in `folder` that has one module more, `src/faulty.py`."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(faulty, folder / "src" / "faulty.py")
    return folder
