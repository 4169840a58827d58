"""Stores that a test may kill, freeze and start again."""

import contextlib
import importlib
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from dev.ports import free_port
from dev.users import is_running


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder into which any user may go, since stores may have to run as another one."""
    with tempfile.TemporaryDirectory(prefix="victims-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


class Victim:
    """A store of the test's own, on a port that stays the same.

    Args:
        name: the name of the module in `dev` that runs such a store.
        folder: the folder in which the store keeps its data.

    Attributes:
        url: the URL of the store, once it has been started.
    """

    def __init__(self, name: str, folder: Path) -> None:
        module = importlib.import_module(f"dev.{name}")
        self._run: Callable[..., AbstractContextManager[str]] = module.running
        self._folder = folder / name
        self._port = free_port()
        self._running = contextlib.ExitStack()
        self.url = ""

    def start(self) -> str:
        """Start the store, also after it was stopped, and return its URL."""
        store = self._run(self._folder, port=self._port)
        self.url = self._running.enter_context(store)
        return self.url

    def stop(self) -> None:
        """Stop the store in the regular way."""
        self._running.close()

    def kill(self) -> None:
        """Kill the store, as a crash of its machine would."""
        self.send(signal.SIGKILL)
        # copier: if "postgres" in stores
        # With this file PostgreSQL takes a dead process for a running one until its parent notices.
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        # copier: endif
        self.stop()

    def send(self, sent: signal.Signals) -> None:
        """Send a signal to all processes of the store: SIGSTOP freezes it, SIGCONT thaws it."""
        process = process_at(self._port)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(sent)
        if sent is signal.SIGKILL:
            wait_for_end(process.pid)


def wait_for_end(pid: int, timeout: float = 10.0) -> None:
    """Wait until a process has ended, whether or not its parent has noticed.

    Args:
        pid: the id of the process.
        timeout: the seconds after which TimeoutError is raised.
    """
    deadline = time.monotonic() + timeout
    while is_running(pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} runs")
        time.sleep(0.005)


def process_at(port: int) -> psutil.Process:
    """Return the process that listens at a port.

    Raises:
        LookupError: there is none.
    """
    for connection in psutil.net_connections("tcp4"):
        is_listening = connection.status == psutil.CONN_LISTEN
        if is_listening and connection.pid and connection.laddr[1:] == (port,):
            return psutil.Process(connection.pid)
    raise LookupError(f"nothing listens at port {port}")
