"""Everything that is checked here: `nox` runs it all, `nox -l` lists it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests", "rendered"]

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
    slow = "--ignore=tests/test_rendered_service.py"
    session.run("pytest", "--numprocesses=auto", slow, *session.posargs)


@nox.session
def rendered(session: nox.Session) -> None:
    """Run what is rendered: its own tests and checks, its commands, also on a bare machine."""
    session.install(*nox.project.dependency_groups(DEPENDENCIES, "tests"))
    session.run("pytest", "tests/test_rendered_service.py", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill the workers of the orders at every step, and measure how many orders a second several of them emit."""
    session.install("copier", "uv")
    with rendered_service(session, "-d", "example=orders") as service:
        session.chdir(service)
        arguments = session.posargs or [
            "-m",
            "chaos",
            "-n",
            "0",
            "-v",
            "-o",
            "junit_family=xunit1",
            "--junitxml=chaos.xml",
        ]
        session.run("python", "-m", "dev", "test", *arguments)
        for case in ElementTree.parse("chaos.xml").iter("testcase"):
            for fact in case.iter("property"):
                session.log(f"{case.get('name')}: {fact.get('value')} {fact.get('name')}")


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
