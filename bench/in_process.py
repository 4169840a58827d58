"""Measure a request without a network: an app is called as a server calls it.

Run as a program it measures one app in a process of its own, and writes the time to a file.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from asyncio import Event
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

import uvloop
from fastapi import FastAPI
from starlette.types import Message

from bench.servers import CORES, ROOT, pinned

PROCESSES = int(os.environ.get("PROCESSES", "5"))
ROUNDS = 40
REQUESTS = 500  # of a round, which takes some hundredths of a second
METHOD = (
    "The app is called in a process as a server would call it, and writes its log to /dev/null; "
    f"medians of {PROCESSES} processes, each with the best of {ROUNDS} rounds."
)
IMPORT = """
from time import process_time
started = process_time()
import {modules}
print(process_time() - started)
"""


@dataclass(frozen=True)
class App:
    """An app to be measured.

    Attributes:
        target: its module, a colon and its name, or that of a function that builds it.
        folder: of the service whose `src` it uses.
        env: its settings.
    """

    target: str
    folder: Path
    env: Mapping[str, str]

    def measure(self) -> float:
        """Return the microseconds of a request, in a process of its own that writes its log nowhere."""
        with tempfile.TemporaryDirectory() as name:
            result = Path(name, "result")
            command = [*pinned(CORES[0]), sys.executable, "-m", "bench.in_process"]
            subprocess.run(
                [*command, self.target, str(result)],
                check=True,
                cwd=self.folder,
                env=environment(self.folder, self.env),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            return float(result.read_text())


@dataclass
class Client:
    """The server's side of one request; the client stays until it has the response."""

    status: int = 0
    is_sent: bool = False
    left: Event = field(default_factory=Event)

    async def receive(self) -> Message:
        """Return the empty body, then wait."""
        if self.is_sent:
            await self.left.wait()
        self.is_sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Note the status."""
        if message["type"] == "http.response.start":
            self.status = message["status"]


def environment(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which `src` is that of a service, and `bench` ours."""
    return {**os.environ, **env, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def build_scope() -> dict[str, Any]:
    """Return what uvicorn says of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "state": {},
        "airtight.announced": True,  # as Airtight's server says
    }


def load(target: str) -> FastAPI:
    """Return an app by the name of it, or of a function that builds it."""
    module, _, name = target.partition(":")
    found: Any = getattr(import_module(module), name)
    if isinstance(found, FastAPI):
        return found
    app: FastAPI = found()
    return app


async def request(app: FastAPI) -> None:
    """Send a request, and check that it was successful."""
    client = Client()
    await app(build_scope(), client.receive, client.send)
    assert client.status == 200, client.status


async def best_round(app: FastAPI) -> float:
    """Return the microseconds of a request in the round that nothing has disturbed."""
    seconds = []
    async with app.router.lifespan_context(app):
        for _ in range(ROUNDS):
            started = process_time()
            for _ in range(REQUESTS):
                await request(app)
            seconds.append(process_time() - started)
    return min(seconds) / REQUESTS * 1_000_000


def in_turn(apps: Mapping[str, App]) -> dict[str, float]:
    """Return the microseconds of a request to each app, measured one after the other, several times."""
    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(PROCESSES):
        for name, app in apps.items():
            times[name].append(app.measure())
    return {name: statistics.median(measured) for name, measured in times.items()}


def import_seconds(folder: Path, modules: str) -> float:
    """Return the seconds of CPU that imports take in a new interpreter, once they are compiled."""
    seconds = []
    for _ in range(PROCESSES + 1):
        done = subprocess.run(
            [sys.executable, "-c", IMPORT.format(modules=modules)],
            check=True,
            capture_output=True,
            text=True,
            env=environment(folder, {}),
            cwd=folder,
        )
        seconds.append(float(done.stdout))
    return statistics.median(seconds[1:])


def main() -> None:
    """Measure one app, and write the microseconds of a request to a file."""
    parser = argparse.ArgumentParser(prog="python -m bench.in_process", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("result", type=Path)
    arguments = parser.parse_args()
    microseconds = uvloop.run(best_round(load(arguments.target)))
    arguments.result.write_text(str(microseconds))


if __name__ == "__main__":
    main()
