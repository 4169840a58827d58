"""Run the service in a process of its own, and read what it logs."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dev.ports import free_port
# copier: if auth != "none"
from tests.support.callers import credentials
# copier: endif
from tests.support.fork_server import CAN_FORK, ForkedProcess, connect

ROOT = Path(__file__).resolve().parents[2]
FAULTY = Path(__file__).with_name("faulty.py")
LIMITED = ("--http", "src.airtight.server:LimitedHttpProtocol")
FAILURES = ("WARNING", "ERROR", "CRITICAL")
TIMEOUT = 60.0  # seconds; a test that waits longer for a process or a record fails
Record = dict[str, Any]


class Service:
    """A running service.

    Args:
        process: the process of the service; what it writes to pipes is read in threads.
        url: the URL at which it listens.
    """

    def __init__(self, process: subprocess.Popen[str] | ForkedProcess, url: str) -> None:
        self.process = process
        self.url = url
        limits = httpx2.Limits(max_connections=None)
        # There is no TLS here, and to load certificates takes 20 ms for each client.
        self.client = httpx2.Client(base_url=url, timeout=30, limits=limits, verify=False)
        # copier: if auth != "none"
        self.client.headers.update(credentials())
        # copier: endif
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._records: list[Record] = []  # of the lines that were parsed already
        self._written = threading.Condition()
        self._readers: list[threading.Thread] = []
        self._start_reader(process.stdout, self.lines)
        self._start_reader(process.stderr, self.errors)

    def records(self, correlation_id: str | None = None) -> list[Record]:
        """Return what has been logged so far, for one request or for all."""
        with self._written:
            for line in self.lines[len(self._records) :]:
                self._records.append(json.loads(line))
            records = list(self._records)
        if correlation_id is None:
            return records
        return [record for record in records if record["correlation_id"] == correlation_id]

    def wait(
        self, condition: Callable[[list[Record]], Any], timeout: float = TIMEOUT
    ) -> list[Record]:
        """Wait until `condition` holds for the records, and return all of them.

        Args:
            condition: is called with all records whenever the service has written something.
            timeout: the seconds after which the test fails.
        """
        deadline = time.monotonic() + timeout
        while not condition(self.records()):
            if time.monotonic() > deadline:
                pytest.fail("not logged:\n" + "".join(self.lines[-20:] + self.errors[-20:]))
            with self._written:
                self._written.wait(0.5)
        return self.records()

    def wait_for_request(self, correlation_id: str) -> list[Record]:
        """Wait until a request has finished, and return all its records."""
        self.wait(lambda records: access(records, correlation_id))
        # A record may follow the access line; the line of a second request is written after it.
        later = self.get("/health/live").headers["x-request-id"]
        self.wait(lambda records: access(records, later))
        return self.records(correlation_id)

    def records_of(self, response: httpx2.Response) -> list[Record]:
        """Wait until the request of a response has finished, and return all its records."""
        return self.wait_for_request(request_id(response))

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Send a GET request."""
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request."""
        return self.client.request(method, path, **options)

    def wait_for_exit(self) -> int:
        """Wait until the process exits by itself, and return its exit code."""
        self.process.wait(timeout=TIMEOUT)
        return self.stop()

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process, read the rest of its output, and return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(sent)
        code = self.process.wait(timeout=TIMEOUT)
        for reader in self._readers:
            reader.join(timeout=TIMEOUT)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code

    def _start_reader(self, stream: Any, lines: list[str]) -> None:
        """Read a pipe in a thread, so that it never fills up."""
        if stream is None:
            return
        reader = threading.Thread(target=self._read, args=(stream, lines), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            with self._written:
                lines.append(line)
                self._written.notify_all()
        with self._written:
            self._written.notify_all()


def access(records: list[Record], correlation_id: str) -> list[Record]:
    """Return the access lines of a request."""
    return [r for r in records if r["logger"] == "access" and r["correlation_id"] == correlation_id]


def statuses(records: list[Record]) -> list[int]:
    """Return the statuses in all access lines among these records."""
    return [record["status"] for record in records if record["logger"] == "access"]


def failures(records: list[Record]) -> list[Record]:
    """Return the records of failures: those from WARNING on."""
    return [record for record in records if record["level"] in FAILURES]


def levels(records: list[Record]) -> list[str]:
    """Return the level of each failure."""
    return [record["level"] for record in failures(records)]


def levels_and_errors(records: list[Record]) -> list[tuple[str, str | None]]:
    """Return the level and the class of error of each failure."""
    return [(record["level"], record.get("error")) for record in failures(records)]


def assert_fields(record: Record, **fields: object) -> None:
    """Assert that a record has these fields, whatever else it has."""
    assert {name: record.get(name) for name in fields} == fields


def request_id(response: httpx2.Response) -> str:
    """Return the id that a response names."""
    return response.headers["x-request-id"]


def launch(
    *command: str,
    cwd: Path = ROOT,
    stdout: int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> Service:
    """Start a command of the service without waiting until it is ready.

    Args:
        command: the arguments for Python, in which `PORT` stands for a free port.
        cwd: the folder of the service.
        stdout: where the command writes its log.
        env: settings that differ from those of the tests.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {"PORT": str(port), "HOST": "127.0.0.1"} | (env or {})
    arguments = [argument.replace("PORT", str(port)) for argument in command]
    if CAN_FORK:
        return Service(connect().start(arguments, cwd, environment, stdout), url)
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    return Service(process, url)


def run(
    *command: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end, and return the process with its exit code and output.

    Args:
        command: the arguments for Python.
        cwd: the folder in which it runs.
        env: settings that differ from those of the tests.
    """
    environment = os.environ | dict(env or {})
    if CAN_FORK:
        process = connect().start(list(command), cwd, environment, subprocess.PIPE)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(command, process.wait(), output, errors)
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


@contextlib.contextmanager
def running(
    *command: str,
    cwd: Path = ROOT,
    stdout: int = subprocess.PIPE,
    env: dict[str, str] | None = None,
) -> Iterator[Service]:
    """Run the service until the end of the block, in production form if no command is passed.

    Args:
        command: the arguments for Python, in which `PORT` stands for a free port.
        cwd: the folder of the service.
        stdout: where the service writes its log.
        env: settings that differ from those of the tests.
    """
    service = launch(*(command or ("-m", "src.main")), cwd=cwd, stdout=stdout, env=env)
    try:
        wait_until_live(service)
        yield service
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.stop()
        service.process.kill()


def wait_until_live(service: Service) -> None:
    """Wait until a service responds; fail the test if it exits before."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        with contextlib.suppress(httpx2.TransportError):
            service.get("/health/live")
            return
        if service.process.poll() is not None or time.monotonic() > deadline:
            pytest.fail("".join(service.lines + service.errors))
        time.sleep(0.05)


def copy_with(module: Path, folder: Path) -> Path:
    """Copy the service to `folder` with one more module, `src/faulty.py`, and return the folder."""
    shutil.copytree(ROOT / "src", folder / "src")  # with what is compiled already
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(module, folder / "src" / "faulty.py")
    return folder


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with the routes of `faulty.py`, which fail in every way a request can."""
    folder = copy_with(FAULTY, tmp_path_factory.mktemp("faulty"))
    command = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT", *LIMITED)
    with running(*command, cwd=folder, env={"CORS_ORIGINS": '["http://a.example"]'}) as service:
        yield service
