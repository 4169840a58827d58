"""Servers to be measured, each a process of its own on a core of its own."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[1]
HELLO = '''"""The service with the routes that are measured."""

from fastapi import APIRouter

from src.main import app


async def hello() -> dict[str, str]:
    """Greet."""
    return {"hello": "world"}


async def crash() -> float:
    """Crash."""
    return 1 / 0


router = APIRouter()
router.get("/")(hello)
router.get("/crash")(crash)
app.include_router(router)
app.router.routes.insert(0, app.router.routes.pop())  # before the health checks

if __name__ == "__main__":  # served as `src/main.py` does it
    import uvicorn

    from src.airtight.server import Limits, limited_http

    uvicorn.run(
        app,
        port=app.state.settings.port,
        http=limited_http(Limits()),
        log_config=None,
        access_log=False,
    )
'''
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


class Run(NamedTuple):
    """What a run of wrk has measured; times are in milliseconds."""

    rate: float
    p50: float
    p99: float
    bad: int


@dataclass
class Server:
    """A running server and the file that holds what it wrote."""

    process: subprocess.Popen[bytes]
    url: str
    output: Path

    def load(
        self, path: str = "/", seconds: int = 3, connections: int = 16, script: Path | None = None
    ) -> Run:
        """Send as many requests as it answers."""
        command = [*pinned(CORES[-1]), "wrk", "--latency", "-t1"]
        command += [f"-c{connections}", f"-d{seconds}s"]
        if script:
            command += ["-s", str(script)]
        command.append(self.url + path)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return parse(done.stdout)

    def access_lines(self) -> int:
        """Return how many requests it has logged."""
        return self.output.read_bytes().count(b'"access"')

    def memory(self) -> float:
        """Return what it holds in memory, in MB."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)


def parse(text: str) -> Run:
    """Return what wrk has printed."""
    rate = re.findall(r"Requests/sec:\s+([\d.]+)", text)[0]
    times = {}
    for share, figure, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", text):
        times[share] = in_ms(figure, unit)
    bad = re.findall(r"Non-2xx or 3xx responses: (\d+)", text) or ["0"]
    return Run(rate=float(rate), p50=times["50"], p99=times["99"], bad=int(bad[0]))


def in_ms(figure: str, unit: str) -> float:
    """Return a time as wrk prints it in milliseconds."""
    return float(figure) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def pinned(core: int) -> list[str]:
    """Return what keeps a command on one core, where the system can do so."""
    if len(CORES) == 1 or sys.platform != "linux":
        return []
    return ["taskset", "-c", str(core)]


def render(folder: Path, *answers: str) -> Path:
    """Render a service."""
    command = ["copier", "copy", "--quiet", "--defaults", "--vcs-ref=HEAD"]
    command += [*answers, str(ROOT), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def hello(folder: Path, *answers: str) -> Path:
    """Render a service without stores, with the routes that are measured."""
    render(folder, "-d", "example=none", "-d", "stores=[]", *answers)
    (folder / "src" / "hello.py").write_text(HELLO)
    return folder


@contextlib.contextmanager
def running(
    target: str, cwd: Path, *options: str, env: dict[str, str] | None = None
) -> Iterator[Server]:
    """Run an app under uvicorn, one worker, its output in a file.

    Args:
        target: of uvicorn's command, or a module that serves itself.
        cwd: the folder of the service.
        options: of uvicorn's command.
        env: settings.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    output = Path(tempfile.mkstemp(suffix=".log")[1])
    command = [*pinned(CORES[0]), sys.executable, "-m"]
    if ":" in target:
        command += ["uvicorn", target, f"--port={port}"]
    else:
        command += [target]
    # Of two packages with one name, uvicorn takes that in `cwd`; `bench` is only in ours.
    environment = {**os.environ, **(env or {}), "PYTHONPATH": str(ROOT), "PORT": str(port)}
    with output.open("wb") as stream, contextlib.ExitStack() as stack:
        stack.callback(output.unlink)
        process = subprocess.Popen(
            [*command, *options], cwd=cwd, stdout=stream, stderr=stream, env=environment
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                sys.exit(output.read_text())
            time.sleep(0.05)
        yield Server(process, f"http://127.0.0.1:{port}", output)


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Run a receiver of events and spans beside the load, and yield its address."""
    command = [*pinned(CORES[-1]), sys.executable, str(ROOT / "template/tests/support/sink.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.terminate()
