"""Measure how long somebody waits who tries it: for a render, and for the first 201."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2
from dev.ports import free_port
from dev.requests import APPLICATION

from bench.servers import render

TIMES = 5
TIMEOUT = 600  # seconds


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def render_and_request(folder: Path, cache: Path) -> None:
    """Render a service, start it, and send a request until it is a 201.

    Args:
        folder: where the service is rendered.
        cache: where uv stores what it has fetched.
    """
    render(folder)
    port = free_port()
    settings = {
        "PORT": str(port),
        "UV_CACHE_DIR": str(cache),
    }
    with subprocess.Popen(
        ["make", f"PYTHON={sys.executable}", "dev"],
        cwd=folder,
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as service:
        wait_until_stored(f"http://127.0.0.1:{port}/decisions")
        os.killpg(service.pid, signal.SIGTERM)


def wait_until_stored(url: str) -> None:
    """Send an application for credit until the decision on it is stored."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.post(url, json=APPLICATION).status_code == 201:
                return
    sys.exit("no decision was stored in time")


def main() -> None:
    """Print a line for each figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = folder / "cache"
        copies = []
        for number in range(TIMES):
            target = folder / f"copy-{number}"
            copies.append(seconds(partial(render, target)))
        print(f"copier copy: {statistics.median(copies):.1f} s")
        cold = seconds(partial(render_and_request, folder / "cold", cache))
        print(f"to the first 201, nothing fetched before: {cold:.0f} s")
        starts = []
        for number in range(TIMES):
            target = folder / f"warm-{number}"
            starts.append(seconds(partial(render_and_request, target, cache)))
        print(f"to the first 201, packages in uv's cache: {statistics.median(starts):.1f} s")


if __name__ == "__main__":
    main()
