"""Rendered services: run their commands, and wait for what they do."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ELSEWHERE = ("VIRTUAL_ENV", "DATABASE_URL", "REDIS_URL")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


def make(folder: Path, *targets: str, **environment: str) -> str:
    """Run make in a folder and return what it prints; fail the test if make fails."""
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", *targets],
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
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
