"""Stores that a test may kill, freeze and bring back."""

import contextlib
import importlib
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from dev.ports import free_port


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
        name: of the module in `dev` that runs such a store.
        folder: where it keeps its data.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._start: Callable[..., AbstractContextManager[str]] = importlib.import_module(
            f"dev.{name}"
        ).running
        self._folder, self._port = folder / name, free_port()
        self._running = contextlib.ExitStack()
        self.url = ""

    def start(self) -> str:
        """Start it, again if need be, and return its URL."""
        self.url = self._running.enter_context(self._start(self._folder, port=self._port))
        return self.url

    def stop(self) -> None:
        """Stop it in the regular way."""
        self._running.close()

    def kill(self) -> None:
        """Kill it, as a crash of its machine would."""
        self.send(signal.SIGKILL)
        self.stop()

    def send(self, sent: signal.Signals) -> None:
        """Send a signal to all of its processes: SIGSTOP freezes it, SIGCONT thaws it."""
        listening = (c for c in psutil.net_connections("tcp4") if c.status == psutil.CONN_LISTEN)
        process = psutil.Process(
            next(c.pid for c in listening if c.pid and c.laddr[1:] == (self._port,))
        )
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(sent)
        if sent is signal.SIGKILL:
            psutil.wait_procs([process], timeout=10)
