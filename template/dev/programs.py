"""Programs of the project's environment, such as ruff, and of this machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import SplitResult

from dev import ROOT


def run(program: str, *arguments: str) -> int:
    """Run a program of the project's environment, and return its exit code."""
    path = Path(sys.executable).with_name(program)
    return subprocess.run([path, *arguments], check=False, cwd=ROOT).returncode


def run_or_exit(program: str, *arguments: str) -> None:
    """Run a program of the project's environment, and end the process with its exit code."""
    sys.exit(run(program, *arguments))


def run_prompt(command: list[str], env: dict[str, str]) -> None:
    """Run a program that reads commands, until the user leaves it; Ctrl-C is for that program.

    Args:
        command: the program and its arguments.
        env: variables for it, beside those of this process.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        code = subprocess.run(command, check=False, cwd=ROOT, env=os.environ | env).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        sys.exit(code)


def without_password(address: SplitResult) -> str:
    """Return a URL without its password: the list of processes shows arguments to everybody."""
    netloc = address.netloc.replace(f":{address.password}@", "@", 1)
    return address._replace(netloc=netloc.removeprefix("@")).geturl()
