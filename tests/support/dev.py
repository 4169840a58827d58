"""`make dev` of a rendered service, in the background of a test."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.services import ENVIRONMENT, free_port, wait_until

START_TIMEOUT = 300  # seconds; the first start installs what the service needs


@dataclass(frozen=True)
class Served:
    """A service that `make dev` runs.

    Attributes:
        process: make.
        port: where the service listens.
        log: the file with all that it has printed.
    """

    process: subprocess.Popen[str]
    port: int
    log: Path

    def read_log(self) -> str:
        """Return all that it has printed."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, words: str) -> None:
        """Wait until it has printed some words; fail the test if it has ended."""

        def is_printed() -> bool:
            is_running = self.process.poll() is None
            text = self.read_log()
            assert is_running or words in text, text
            return words in text

        wait_until(is_printed, START_TIMEOUT)

    def stop(self, sent: signal.Signals) -> None:
        """Send a signal to make and to all that it has started, as a terminal does."""
        os.killpg(self.process.pid, sent)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Run `make dev` in a rendered service, until the end of the block or until it is stopped."""
    port = free_port()
    log = folder / "dev.log"
    command = ["make", f"PYTHON={sys.executable}", "dev"]
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            cwd=folder,
            env=ENVIRONMENT | {"PORT": str(port)},
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        service = Served(process, port, log)
        try:
            service.wait_for("Application startup complete")
            yield service
        finally:
            with contextlib.suppress(ProcessLookupError):
                service.stop(signal.SIGTERM)
