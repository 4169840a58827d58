"""Rendered services: run their commands, and wait for what they do."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ELSEWHERE = (
    "VIRTUAL_ENV",
    "UV_PROJECT_ENVIRONMENT",
    "DATABASE_URL",
    "REDIS_URL",
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
Done = subprocess.CompletedProcess[str]


def run(folder: Path, *command: str, **environment: str) -> Done:
    """Run a command in a folder, and return its exit code and all that it prints."""
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def make(folder: Path, *targets: str, **environment: str) -> str:
    """Run make in a folder and return what it prints; fail the test if make fails."""
    done = run(folder, "make", f"PYTHON={sys.executable}", *targets, **environment)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def free_port() -> int:
    """Return a port that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Return the result of `condition` as soon as it is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.1)


def uv_cache() -> str:
    """Return where uv stores what it has fetched, so that tests fetch nothing twice."""
    command = [sys.executable, "-m", "uv", "cache", "dir"]
    return subprocess.check_output(command, text=True).strip()


@dataclass(frozen=True)
class Served:
    """A service that `make dev` runs."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def read_log(self) -> str:
        """Return what has been logged so far."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, words: str, count: int = 1) -> None:
        """Wait until the log has these words as often as this."""

        def is_logged() -> bool:
            text = self.read_log()
            assert self.process.poll() is None, text
            return text.count(words) >= count

        wait_until(is_logged, timeout=300)  # the first start installs what is needed


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Run `make dev` until the end of the block, or until it is stopped."""
    port = free_port()
    log = folder / "dev.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            ["make", f"PYTHON={sys.executable}", "dev"],
            cwd=folder,
            env=ENVIRONMENT | {"PORT": str(port)},
            stdout=file,
            stderr=file,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            service = Served(process, port, log)
            service.wait_for("Application startup complete")
            yield service
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
