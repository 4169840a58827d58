"""Everything that is checked here: `nox` runs it all, `nox -l` lists it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests", "updates", "rendered", "observability", "containers"]
SLOW = [
    "test_rendered_service",
    "test_observability",
    "test_update",
    "test_cookiecutter",
    "test_containers",
]

ROOT = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOT_RENDERED = shutil.ignore_patterns(
    "__pycache__", ".venv", ".dev", ".*_cache", ".coverage*", "uv.lock"
)
DEPENDENCIES = nox.project.load_toml("pyproject.toml")
SERVICE = nox.project.load_toml("template/pyproject.toml")


def install_service(session: nox.Session) -> None:
    """Install what the service in `template/` needs to run in place."""
    development = nox.project.dependency_groups(SERVICE, "dev")
    session.install(*SERVICE["project"]["dependencies"], *development)


def install_groups(session: nox.Session, *groups: str) -> None:
    """Install groups of dependencies of this repository."""
    session.install(*nox.project.dependency_groups(DEPENDENCIES, *groups))


def require(session: nox.Session, *programs: str) -> None:
    """Skip a session for which a program is missing; in CI, fail."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        leave_out(session, f"not on PATH: {', '.join(missing)}")


def leave_out(session: nox.Session, reason: str) -> None:
    """Skip a session; in CI, where nothing may be missing, fail."""
    if os.environ.get("CI"):
        session.error(reason)
    session.skip(reason)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, rules and types, of the template in place as well, and the workflows of both."""
    session.install("copier")
    install_groups(session, "bench", "lint", "tests")
    install_service(session)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    with rendered_service(session) as service:
        write_weekly_workflow(service)
        workflows = [*workflows_in(ROOT), *workflows_in(service)]
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


def workflows_in(folder: Path) -> list[str]:
    """Return the workflows of a repository."""
    return [str(file) for file in folder.glob(".github/workflows/*.yml")]


def write_weekly_workflow(service: Path) -> None:
    """Write the workflow of updates as it is when its schedule is no comment any more."""
    update = service / ".github" / "workflows" / "update.yml"
    text = update.read_text(encoding="utf-8")
    weekly = re.sub(r"(?m)^  # (schedule:|  - cron:)", r"  \1", text)
    update.with_stem("weekly").write_text(weekly, encoding="utf-8")


@nox.session
def tests(session: nox.Session) -> None:
    """Render in every way that matters, and ask every question."""
    install_groups(session, "tests")
    slow = [f"--ignore=tests/{name}.py" for name in SLOW]
    session.run("pytest", "--numprocesses=auto", *slow, *session.posargs)


@nox.session
def updates(session: nox.Session) -> None:
    """Update what earlier versions rendered, and render through Cookiecutter and cruft."""
    install_groups(session, "tests", "updates")
    files = ["tests/test_update.py", "tests/test_cookiecutter.py"]
    session.run("pytest", "--numprocesses=auto", "--dist=worksteal", *files, *session.posargs)


@nox.session
def rendered(session: nox.Session) -> None:
    """Run what is rendered: its own tests and checks, its commands, also on a bare machine."""
    install_groups(session, "tests")
    in_parallel = ("--numprocesses=4", "--dist=worksteal")
    session.run("pytest", *in_parallel, "tests/test_rendered_service.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure what it costs, and write docs/benchmarks.md; needs wrk."""
    install_groups(session, "bench")
    install_service(session)
    session.run("python", "-m", "bench", *session.posargs, env={"PYTHONPATH": "template"})


@nox.session
def readme(session: nox.Session) -> None:
    """Crash a service, and show logs, tools and its page in README.md; needs Prometheus, Chromium."""
    install_groups(session, "bench")
    install_service(session)
    session.run("python", "-m", "bench.readme", env={"PYTHONPATH": "template"})
    session.run("python", "-m", "bench.picture")
    session.run("python", "-m", "bench.page", env={"PYTHONPATH": "template"})


@nox.session
def observability(session: nox.Session) -> None:
    """Test the alerts, and observe rendered services with real tools and a real browser."""
    require(session, "prometheus", "promtool", "prometheus-alertmanager", "amtool")
    if not any(map(shutil.which, BROWSERS)):
        require(session, "chromium")
    install_groups(session, "tests")
    install_service(session)
    session.run("pytest", "--numprocesses=2", "tests/test_observability.py", *session.posargs)


@nox.session
def containers(session: nox.Session) -> None:
    """Run what is rendered in containers; with EVERYTHING=1 on each version of Python."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "ps"], capture_output=True, check=False).returncode:
        leave_out(session, "no Docker engine responds")
    install_groups(session, "tests")
    session.run("pytest", "--numprocesses=3", "tests/test_containers.py", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """Run the unit tests of the service in place: what needs no store, on any system."""
    install_service(session)
    session.chdir("template")
    session.run("pytest", "tests/unit", *session.posargs)


@nox.session
def cookiecutter_json(session: nox.Session) -> None:
    """Write `cookiecutter.json` anew after a change of the questions."""
    session.install("pyyaml")
    session.run("python", "scripts/cookiecutter_json.py")


@nox.session(venv_backend="none")
def release(session: nox.Session) -> None:
    """Check version and changelog, and print the commands that release."""
    session.run("python", "scripts/release.py")


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill stores 50 times under load, and workers at every step of an order; count emitted orders."""
    session.install("copier", "uv")
    test = ("python", "-m", "dev", "test")
    with rendered_service(session) as service, session.chdir(service):
        outages = ("tests/integration/test_outages.py", "-n0", "-k", "nothing_is_lost")
        session.run(*test, *outages, env={"KILLS": "50"})
    with rendered_service(session, "-d", "example=orders") as service, session.chdir(service):
        selected = session.posargs or ("-m", "chaos", "-n0", "-v")
        report = ("-o", "junit_family=xunit1", "--junitxml=chaos.xml")
        session.run(*test, *selected, *report)
        for case in ElementTree.parse("chaos.xml").iter("testcase"):
            for figure in case.iter("property"):
                session.log(f"{case.get('name')}: {figure.get('value')} {figure.get('name')}")


@nox.session
def upstream(session: nox.Session) -> None:
    """Run FastAPI's own tests behind the error boundary; an unlisted difference fails it."""
    session.install("pip", *SERVICE["project"]["dependencies"])
    with fastapi_source(session) as source:
        fastapi = nox.project.load_toml(source / "pyproject.toml")
        session.install(
            *nox.project.dependency_groups(fastapi, "tests"),
            *fastapi["project"]["optional-dependencies"]["all"],
        )
        session.run("python", "-m", "tests.upstream", str(source))


@contextlib.contextmanager
def fastapi_source(session: nox.Session) -> Iterator[Path]:
    """Download the source distribution of the FastAPI that is installed; it holds the tests."""
    show_version = "from importlib.metadata import version; print(version('fastapi'))"
    version = session.run("python", "-c", show_version, silent=True)
    requirement = f"fastapi=={str(version).strip()}"
    with tempfile.TemporaryDirectory() as folder:
        download = ["python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        session.run(*download, "--no-binary=fastapi", requirement)
        (archive,) = Path(folder).glob("fastapi-*.tar.gz")
        shutil.unpack_archive(archive, folder, filter="data")
        (source,) = Path(folder).glob("fastapi-*/")
        yield source


@contextlib.contextmanager
def rendered_service(session: nox.Session, *arguments: str) -> Iterator[Path]:
    """Render the working tree as it is, outside of git."""
    with tempfile.TemporaryDirectory() as name:
        snapshot = Path(name, "airtight")
        service = Path(name, "service")
        shutil.copytree(ROOT / "template", snapshot / "template", ignore=NOT_RENDERED)
        shutil.copy(ROOT / "copier.yml", snapshot)
        render = ("copier", "copy", "--defaults", "--quiet")
        session.run(*render, *arguments, str(snapshot), str(service), silent=True)
        yield service
