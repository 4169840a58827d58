"""Docker and Docker Compose, as programs of this machine."""

import shutil
import subprocess
import sys

from dev import ROOT

DOCKER = shutil.which("docker") or "docker"


def compose(*arguments: str) -> int:
    """Run `docker compose`, show its output, and return its exit code."""
    return subprocess.run([DOCKER, "compose", *arguments], cwd=ROOT, check=False).returncode


def compose_or_exit(*arguments: str) -> None:
    """Run `docker compose`, and end the process with its exit code if that is not 0."""
    code = compose(*arguments)
    if code:
        sys.exit(code)


def read_from_compose(*arguments: str) -> str:
    """Return the output of `docker compose`, empty where it fails."""
    return docker("compose", *arguments).stdout.strip()


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker`, and return its exit code with its output."""
    return subprocess.run(
        [DOCKER, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
