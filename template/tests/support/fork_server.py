"""Starts Python processes in a fraction of the time: forks them from one that has the imports.

The libraries that the service uses take most of a second to import. A process that has imported
them once waits for commands on a socket, and forks for each of them. What it forks gets the
arguments, the environment and the folder of the command, and then imports the service itself, as
a new interpreter would. All processes of a run of the tests use the same server.
"""

import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing.process
import os
import runpy
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import coverage

LIBRARIES = (
    "anyio._backends._asyncio",
    "fastapi",
    "fastapi.middleware.cors",
    "httpcore2",
    "httpx2",
    "orjson",
    "pydantic.v1",
    "pydantic_settings",
    "stamina",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvloop",
    # copier: if "prometheus" in observability
    "prometheus_client.multiprocess",
    # copier: endif
    # copier: if auth == "jwt"
    "jwt",
    # copier: endif
    # copier: if "opentelemetry" in observability
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace",
    # copier: endif
    # copier: if "sentry" in observability
    "sentry_sdk",
    # copier: endif
    # copier: if "postgres" in stores
    "alembic.config",
    "asyncpg",
    "sqlalchemy.ext.asyncio",
    # copier: endif
    # copier: if "redis" in stores
    "redis.asyncio",
    # copier: endif
)
CAN_FORK = sys.platform == "linux"
ADDRESS = "FORK_SERVER"  # the variable with the name of the server's socket
MAX_COMMAND = 100_000  # bytes
COVERAGE = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class ForkedProcess:
    """A process that the server has forked, with those methods of `subprocess.Popen` that tests use.

    Args:
        status: a socket, on which come its id, and at its end its exit code.
        stdout: what it writes, if that is a pipe.
        stderr: what it writes there.
    """

    def __init__(self, status: socket.socket, stdout: TextIO | None, stderr: TextIO) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._status = status
        self.pid = int(status.recv(100))

    def communicate(self) -> tuple[str, str]:
        """Read what it writes until its end, wait for its exit code, and return both texts."""
        with ThreadPoolExecutor(1) as thread:
            output = thread.submit(read_all, self.stdout)
            errors = read_all(self.stderr)
        self.wait()
        return (output.result(), errors)

    def poll(self) -> int | None:
        """Return the exit code, or None if the process is running."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(timeout=0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code, and return it.

        Args:
            timeout: the seconds after which subprocess.TimeoutExpired is raised.
        """
        if self.returncode is None:
            readable, _, _ = select.select([self._status], [], [], timeout)
            if not readable:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._status.recv(100))
            self._status.close()
        return self.returncode

    def send_signal(self, sent: int) -> None:
        """Send a signal, unless the process has exited."""
        if self.poll() is None:
            os.kill(self.pid, sent)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A connection to the process that forks others.

    Args:
        address: the name of its socket.
    """

    def __init__(self, address: str) -> None:
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.connect(f"\0{address}")

    def start(
        self, arguments: list[str], cwd: Path, env: Mapping[str, str], stdout: int
    ) -> ForkedProcess:
        """Fork a process.

        Args:
            arguments: those of `python`, from `-m` or `-c` on.
            cwd: the folder in which it runs.
            env: the environment.
            stdout: what it writes to, as in `subprocess.Popen`; its stderr is a pipe.
        """
        command = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": dict(env)})
        status, status_of_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors, stderr = open_pipe()
        output = None
        if stdout == subprocess.PIPE:
            output, stdout = open_pipe()
        files = [status_of_child.fileno(), stdout, stderr]
        socket.send_fds(self._control, [command.encode()], files)
        status_of_child.close()
        os.close(stderr)
        if output is not None:
            os.close(stdout)
        return ForkedProcess(status, output, errors)


def read_all(pipe: TextIO | None) -> str:
    """Read a pipe until its end, and close it."""
    if pipe is None:
        return ""
    with pipe:
        return pipe.read()


def open_pipe() -> tuple[TextIO, int]:
    """Open a pipe, and return its end for reading, and the number of the one for writing."""
    readable, writable = os.pipe()
    return os.fdopen(readable, encoding="utf-8"), writable


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server, and yield its address; what it has forked goes on after its end."""
    address = f"fork-server-{secrets.token_hex(8)}"
    environment = {k: v for k, v in os.environ.items() if k not in COVERAGE}
    kept, parent = socket.socketpair()
    with kept, parent, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{address}")
        listener.listen()
        files = [listener.fileno(), parent.fileno()]
        command = [sys.executable, __file__, *map(str, files)]
        process = subprocess.Popen(command, env=environment, pass_fds=files)
        parent.close()
        yield address
        kept.close()
        process.wait()


@cache
def connect() -> ForkServer:
    """Return the connection of this process to the server."""
    return ForkServer(os.environ[ADDRESS])


def serve(listener: socket.socket, parent: socket.socket) -> list[str]:
    """Fork for each command until the parent ends; return the arguments in each child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    clients: list[socket.socket] = []
    while True:
        readable, _, _ = select.select([parent, listener, *clients], [], [])
        if parent in readable:
            os._exit(0)
        if listener in readable:
            clients.append(listener.accept()[0])
            import_libraries()
        for client in [client for client in clients if client in readable]:
            received, files, _, _ = socket.recv_fds(client, MAX_COMMAND, 3)
            if not received:  # the client has left
                clients.remove(client)
                client.close()
                continue
            if os.fork() == 0:
                for each in (parent, listener, *clients):
                    each.close()
                return start_child(received, files)
            for file in files:
                os.close(file)


@cache
def import_libraries() -> None:
    """Import what most processes need, once there is somebody who asks for processes."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # what all share is not searched, and so not copied


def start_child(received: bytes, files: list[int]) -> list[str]:
    """Fork once more, so that this process can report the end; return the child's arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status, stdout, stderr = files
    child = os.fork()
    if child:
        report_exit(child, socket.socket(fileno=status))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for file in files:
        os.close(file)
    return enter(json.loads(received))


def report_exit(child: int, status: socket.socket) -> None:
    """Send the id of a process, wait for its end, send its exit code, and exit."""
    status.send(str(child).encode())
    _, wait_status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):
        status.send(str(os.waitstatus_to_exitcode(wait_status)).encode())
    os._exit(0)


def enter(command: dict[str, Any]) -> list[str]:
    """Take over the folder and the environment of a command, and return its arguments."""
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    sys.path[0] = command["cwd"]
    vars(multiprocessing.process)["ORIGINAL_DIR"] = command["cwd"]  # where its workers start
    if any(name in os.environ for name in COVERAGE):
        coverage.process_startup()
    arguments: list[str] = command["arguments"]
    return arguments


def run_python(option: str, argument: str) -> None:
    """Run what `python -m` or `python -c` would run."""
    if option == "-c":
        exec(argument, {"__name__": "__main__"})
    else:
        runpy.run_module(argument, run_name="__main__", alter_sys=True)


def exit_code(error: SystemExit) -> int:
    """Return the exit code that Python makes of an error."""
    if error.code is None:
        return 0
    return error.code if isinstance(error.code, int) else 1


class QuickExit:
    """Ends a process with the exit code that it would have, after its last functions of `atexit`.

    To clear all modules first, as Python does, takes 60 ms, since most of their memory is shared.
    """

    def __init__(self) -> None:
        self._code = 1  # that of an error which nothing handles
        atexit.register(self._exit)  # before all others, so it is called after them

    def run(self, *arguments: str) -> None:
        """Run a module or code, and note the exit code."""
        try:
            run_python(*arguments)
        except SystemExit as error:
            self._code = exit_code(error)
            raise
        self._code = 0

    def _exit(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self._code)


if __name__ == "__main__":
    of_tests, of_parent = (socket.socket(fileno=int(fileno)) for fileno in sys.argv[1:])
    quick_exit = QuickExit()
    command = serve(of_tests, of_parent)
    sys.argv = command[1:] if command[0] == "-m" else ["-c", *command[2:]]
    quick_exit.run(*command[:2])
