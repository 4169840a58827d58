"""Everything that is checked here: `nox` runs it all, `nox -l` lists it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests", "rendered", "containers"]

ROOT = Path(__file__).parent
DEPENDENCIES = nox.project.load_toml("pyproject.toml")
SERVICE = nox.project.load_toml("template/pyproject.toml")


def install_service(session: nox.Session) -> None:
    """Install what the service in `template/` needs to run in place."""
    session.install(*SERVICE["project"]["dependencies"], *nox.project.dependency_groups(SERVICE, "dev"))


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, rules and types, of the template in place as well, and the workflows of both."""
    session.install("copier", *nox.project.dependency_groups(DEPENDENCIES, "lint", "tests"))
    install_service(session)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    workflows = [str(file) for file in ROOT.glob(".github/workflows/*.yml")]
    with rendered_service(session) as service:
        workflows += [str(file) for file in service.glob(".github/workflows/*.yml")]
        session.run("actionlint", *workflows)
        session.run("zizmor", "--offline", "--quiet", *workflows)
        if sys.platform != "win32":
            session.run("hadolint", str(service / "Dockerfile"))
    session.chdir("template")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("lint-imports")
    session.run("python", "-m", "dev.house_rules", "src")


@nox.session
def tests(session: nox.Session) -> None:
    """Render in every way that matters, and ask every question."""
    session.install(*nox.project.dependency_groups(DEPENDENCIES, "tests"))
    slow = [f"--ignore=tests/test_{name}.py" for name in ("rendered_service", "containers")]
    session.run("pytest", "--numprocesses=auto", *slow, *session.posargs)


@nox.session
def rendered(session: nox.Session) -> None:
    """Run what is rendered: its own tests and checks, its commands, also on a bare machine."""
    session.install(*nox.project.dependency_groups(DEPENDENCIES, "tests"))
    session.run("pytest", "tests/test_rendered_service.py", *session.posargs)


@nox.session
def containers(session: nox.Session) -> None:
    """Run what is rendered in containers; with EVERYTHING=1 on each version of Python."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "ps"], capture_output=True, check=False).returncode:
        missing = "no Docker engine answers; start one, or leave this session out: nox -s lint tests rendered"
        session.error(missing) if os.environ.get("CI") else session.skip(missing)
    session.install(*nox.project.dependency_groups(DEPENDENCIES, "tests"))
    session.run("pytest", "--numprocesses=2", "tests/test_containers.py", *session.posargs)


@contextlib.contextmanager
def rendered_service(session: nox.Session, *arguments: str) -> Iterator[Path]:
    """Render the working tree as it is, outside of git."""
    with tempfile.TemporaryDirectory() as name:
        snapshot, service = Path(name, "airtight"), Path(name, "service")
        ignored = shutil.ignore_patterns("__pycache__", ".venv", ".dev", ".*_cache", ".coverage*", "uv.lock")
        shutil.copytree(ROOT / "template", snapshot / "template", ignore=ignored)
        shutil.copy(ROOT / "copier.yml", snapshot)
        session.run("copier", "copy", "--defaults", "--quiet", *arguments, str(snapshot), str(service), silent=True)
        yield service
