"""Programs of the project's environment, such as ruff, and of this machine."""

import signal
import subprocess
import sys
from pathlib import Path

from dev import ROOT


def run(program: str, *arguments: str) -> int:
    """Run a program of the project's environment, and return its exit code."""
    path = Path(sys.executable).with_name(program)
    return subprocess.run([path, *arguments], check=False, cwd=ROOT).returncode


def run_prompt(command: list[str], env: dict[str, str]) -> None:
    """Run a program that reads commands, until the user leaves it; Ctrl-C is for that program."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        code = subprocess.run(command, check=False, cwd=ROOT, env=env).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        sys.exit(code)
