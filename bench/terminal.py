"""Render a service, start it, crash it, and draw what the terminal shows: docs/terminal.svg."""

import contextlib
import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from dev.ports import free_port
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from bench.servers import ROOT

PICTURE = ROOT / "docs" / "terminal.svg"
COPY = 'copier copy --defaults "$PWD" ../my-service'
START = "make -C ../my-service dev"
# What somebody types who wants to see a crash.
BUG = """\
cat >> ../my-service/src/main.py <<END

@app.get("/crash")
def crash():
    return 1 / 0
END"""
STARTED = b"Application startup complete.\r\n"
REPORTED = b"access: "  # the access line comes last
TIMEOUT = 120  # seconds
NOT_COPIED = shutil.ignore_patterns(
    "__pycache__",
    ".venv",
    ".dev",
    ".*_cache",
)
NOISE = re.compile(r"\s*$|Copying| +create |.* (uvicorn\.error|watchfiles\.main): ")
CORRELATION_ID = r"[0-9a-f]{32}"
WIDTH = 104  # characters
COLORS = TerminalTheme(
    background=(13, 17, 23),
    foreground=(201, 209, 217),
    normal=[
        (110, 118, 129),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)
# Rich's own format loads a font from the web.
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" class="terminal" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{
    font: {char_height}px/{line_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
}}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Terminal:
    """A terminal in which one command runs.

    Args:
        command: for the shell.
        cwd: the folder to run it in.
    """

    def __init__(self, command: str, cwd: Path) -> None:
        self._screen, programs = pty.openpty()
        self.process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=cwd,
            stdin=programs,
            stdout=programs,
            stderr=programs,
            start_new_session=True,
        )
        os.close(programs)
        self._output = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        # Linux reports the end of a terminal by an error.
        with contextlib.suppress(OSError):
            while part := os.read(self._screen, 4096):
                self._output += part

    def wait_for(self, text: bytes, times: int = 1) -> None:
        """Wait until it shows a text that many times."""
        deadline = time.monotonic() + TIMEOUT
        while self._output.count(text) < times:
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(self.text())
            time.sleep(0.1)

    def text(self) -> str:
        """Return what it shows."""
        return self._output.decode().replace("\r\n", "\n")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.close()

    def close(self) -> None:
        """Wait for the end of the command."""
        self.process.wait()
        self._reader.join()
        os.close(self._screen)


def show(command: str, cwd: Path) -> str:
    """Run a command to its end, and return what its terminal shows."""
    terminal = Terminal(command, cwd)
    terminal.close()
    return terminal.text()


@contextlib.contextmanager
def started(command: str, cwd: Path) -> Iterator[Terminal]:
    """Run a command until Ctrl-C."""
    terminal = Terminal(command, cwd)
    try:
        yield terminal
    finally:
        terminal.interrupt()


class Session:
    """What the terminals of a person show, one below the other.

    Args:
        folder: a temporary one, which is left out of paths.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._console = Console(
            record=True,
            width=WIDTH,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
        )

    def add_title(self, title: str) -> None:
        """Draw a line with a title."""
        self._console.print()
        self._console.rule(Text(title, "bold"), align="left", style="bright_black")

    def add_command(self, command: str) -> None:
        """Show what was typed."""
        self._console.print(Text(f"$ {command}", "bold white"))

    def add_output(self, output: str) -> None:
        """Show what was printed, without the noise."""
        output = output.replace(f"{self._folder}/", "")
        lines = [Text.from_ansi(line) for line in output.splitlines()]
        for noisy, group in groupby(lines, is_noise):
            run = list(group)
            if not noisy:
                self._add(run)
            elif any(line.plain.strip() for line in run):
                self._console.print(Text(f"... {len(run)} lines ...", "dim"))

    def _add(self, lines: list[Text]) -> None:
        for line in lines:
            line.highlight_regex(CORRELATION_ID, "bold yellow")
            self._console.print(line)

    def svg(self) -> str:
        """Return the picture."""
        return self._console.export_svg(
            title="",
            theme=COLORS,
            code_format=FORMAT,
            unique_id="t",
        )


def is_noise(line: Text) -> bool:
    """Return whether a line tells somebody who waits that something goes on."""
    return NOISE.match(line.plain) is not None


def record(folder: Path) -> Session:
    """Do in a folder what the README says, then let the service crash."""
    template = folder / "airtight"
    shutil.copytree(ROOT / "template", template / "template", ignore=NOT_COPIED)
    shutil.copy(ROOT / "copier.yml", template)
    session = Session(folder)
    session.add_command(COPY)
    session.add_output(show(COPY, template))
    port = free_port(8000)
    request = f"curl http://127.0.0.1:{port}/crash"
    start = START if port == 8000 else f"PORT={port} {START}"
    with started(start, template) as service:
        service.wait_for(STARTED)
        session.add_command(start)
        session.add_output(service.text())
        session.add_title("another terminal")
        session.add_command(BUG)
        session.add_output(show(BUG, template))
        service.wait_for(STARTED, times=2)
        reloaded = service.text()
        session.add_command(request)
        session.add_output(show(request, template))
        service.wait_for(REPORTED)
        session.add_title("the first terminal")
        session.add_output(service.text().removeprefix(reloaded))
    return session


def main() -> None:
    """Draw the picture anew."""
    with tempfile.TemporaryDirectory() as name:
        session = record(Path(name))
    PICTURE.write_text(session.svg(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
