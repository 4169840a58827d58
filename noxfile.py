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
from nox import Session

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = [
    "lint",
    "tests",
    "updates",
    "rendered",
    "observability",
    "containers",
]
SLOW = [
    "test_adoption",
    "test_commands",
    "test_rendered_service",
    "test_resource",
    "test_sqlalchemy",
    "test_observability",
    "test_authorize",
    "test_proxy",
    "test_kubernetes",
    "test_rollout",
    "test_update",
    "test_cookiecutter",
    "test_containers",
]

ROOT = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOT_RENDERED = shutil.ignore_patterns(
    "__pycache__", ".venv", ".dev", ".*_cache", ".coverage*", ".hypothesis", "uv.lock"
)
DEPENDENCIES = nox.project.load_toml("pyproject.toml")
SERVICE = nox.project.load_toml("template/pyproject.toml")


def install_service(session: Session) -> None:
    """Install what the service in `template/` needs to run in place."""
    development = nox.project.dependency_groups(SERVICE, "dev")
    session.install(*SERVICE["project"]["dependencies"], *development)


def install_groups(session: Session, *groups: str) -> None:
    """Install groups of dependencies of this repository."""
    session.install(*nox.project.dependency_groups(DEPENDENCIES, *groups))


def pytest(session: Session, *arguments: str) -> None:
    """Run tests, with what stands after `--` on the command line of nox."""
    session.run("pytest", *arguments, *session.posargs)


def check_python(session: Session) -> None:
    """Check format, rules and types of the folder that the session is in."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")


def require(session: Session, *programs: str) -> None:
    """Skip a session for which a program is missing; in CI, fail."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        leave_out(session, f"not on PATH: {', '.join(missing)}")


def leave_out(session: Session, reason: str) -> None:
    """Skip a session; in CI, where nothing may be missing, fail."""
    if os.environ.get("CI"):
        session.error(reason)
    session.skip(reason)


@nox.session
def lint(session: Session) -> None:
    """Check format, rules, types and workflows, here and in the template."""
    session.install("copier")
    install_groups(session, "bench", "kubernetes", "lint", "tests")
    install_service(session)
    check_python(session)
    with rendered_service(session) as service:
        write_weekly_workflow(service)
        workflows = [*workflows_in(ROOT), *workflows_in(service)]
        session.run("actionlint", *workflows)
        session.run("zizmor", "--offline", "--quiet", *workflows)
        if sys.platform != "win32":
            session.run("hadolint", str(service / "Dockerfile"))
    session.chdir("template")
    check_python(session)
    session.run("lint-imports")
    session.run("python", "-m", "dev.house_rules", "src")
    session.run("python", "-m", "dev.migration_lint")


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
def tests(session: Session) -> None:
    """Render in every way that matters, and ask every question."""
    install_groups(session, "tests")
    slow = [f"--ignore=tests/{name}.py" for name in SLOW]
    pytest(session, "--numprocesses=auto", *slow)


@nox.session
def updates(session: Session) -> None:
    """Update what earlier versions rendered, and render through Cookiecutter and cruft."""
    install_groups(session, "tests", "updates")
    pytest(
        session,
        "--numprocesses=auto",
        "--dist=worksteal",
        "tests/test_update.py",
        "tests/test_cookiecutter.py",
    )


@nox.session
def rendered(session: Session) -> None:
    """Run what is rendered: its own tests and checks, its commands, also on a bare machine."""
    install_groups(session, "tests")
    # One suite at a time: each uses all cores, and its tests wait for processes.
    services = "tests/test_rendered_service.py"
    pytest(session, "-m", "all_cores", services)
    names = ("commands", "adoption", "resource", "sqlalchemy")
    commands = [f"tests/test_{name}.py" for name in names]
    in_parallel = ("--numprocesses=2", "--dist=worksteal", "-m", "not all_cores")
    pytest(session, *in_parallel, *commands, services)


@nox.session
def bench(session: Session) -> None:
    """Measure what it costs, and write docs/benchmarks.md; needs wrk."""
    install_groups(session, "bench")
    install_service(session)
    session.run("python", "-m", "bench", *session.posargs, env={"PYTHONPATH": "template"})


@nox.session
def scaling(session: Session) -> None:
    """Measure what one core carries, for docs/scaling.md; needs wrk and two cores."""
    install_groups(session, "bench")
    install_service(session)
    session.run("python", "-m", "bench.scaling", env={"PYTHONPATH": "template"})


@nox.session
def trying(session: Session) -> None:
    """Measure how long a render and the first response take, for README.md."""
    install_groups(session, "bench")
    install_service(session)
    session.run("python", "-m", "bench.trying", env={"PYTHONPATH": "template"})


@nox.session
def readme(session: Session) -> None:
    """Show in README.md what logs and tools make of a crash; needs curl, Prometheus and Chromium."""
    install_groups(session, "bench")
    install_service(session)
    session.run("python", "-m", "bench.terminal", env={"PYTHONPATH": "template"})
    session.run("python", "-m", "bench.readme", env={"PYTHONPATH": "template"})
    session.run("python", "-m", "bench.picture")
    session.run("python", "-m", "bench.page", env={"PYTHONPATH": "template"})


@nox.session
def observability(session: Session) -> None:
    """Test the proxy, the manifests and the alerts, with real tools and a real browser."""
    require(session, "prometheus", "promtool", "prometheus-alertmanager", "amtool")
    require(session, "nginx", "kubectl")
    if not any(map(shutil.which, BROWSERS)):
        require(session, "chromium")
    install_groups(session, "kubernetes", "tests")
    install_service(session)
    names = ("observability", "authorize", "proxy", "kubernetes")
    pytest(session, "--numprocesses=2", *[f"tests/test_{name}.py" for name in names])


@nox.session
def kubernetes(session: Session) -> None:
    """Check the manifests for Kubernetes, and roll out under load what they say."""
    require(session, "kubectl", "haproxy", "redis-server")
    install_groups(session, "kubernetes", "tests")
    install_service(session)
    report = f"{session.virtualenv.location}/rollout.xml"
    options = ("-o", "junit_family=xunit1", f"--junitxml={report}")
    pytest(session, *options, "tests/test_kubernetes.py", "tests/test_rollout.py")
    log_figures(session, report)


@nox.session
def containers(session: Session) -> None:
    """Run what is rendered in containers."""
    require(session, "docker")
    done = subprocess.run(["docker", "ps"], capture_output=True, check=False)
    if done.returncode:
        leave_out(session, "no Docker engine responds")
    install_groups(session, "tests")
    pytest(session, "--numprocesses=3", "tests/test_containers.py")


@nox.session
def kinds(session: Session) -> None:
    """Test each kind of service in full, on this machine, in containers and after updates."""
    require(session, "docker")
    install_groups(session, "tests", "updates")
    for name in ("rendered_service", "containers", "resource", "update"):
        session.run("pytest", f"tests/test_{name}.py", *session.posargs, env={"EVERYTHING": "1"})


@nox.session
def unit(session: Session) -> None:
    """Run the unit tests of the service in place: what needs no store, on any system."""
    install_service(session)
    session.chdir("template")
    pytest(session, "tests/unit")


@nox.session
def cookiecutter_json(session: Session) -> None:
    """Write `cookiecutter.json` anew after a change of the questions."""
    session.install("pyyaml")
    session.run("python", "scripts/cookiecutter_json.py")


@nox.session(venv_backend="none")
def release(session: Session) -> None:
    """Check version and changelog, and print the commands that release."""
    session.run("python", "scripts/release.py")


@nox.session
def chaos(session: Session) -> None:
    """Kill stores under load, and workers at every step of an order; measure the throughput."""
    session.install("copier", "uv")
    test = ("python", "-m", "dev", "test")
    with rendered_service(session) as service, session.chdir(service):
        outages = ("tests/integration/test_outages.py", "-n0", "-k", "nothing_is_lost")
        session.run(*test, *outages, env={"KILLS": "50"})
    with rendered_service(session, "-d", "example=orders") as service, session.chdir(service):
        selected = session.posargs or ("-m", "chaos", "-n0", "-v")
        report = ("-o", "junit_family=xunit1", "--junitxml=chaos.xml")
        session.run(*test, *selected, *report)
        log_figures(session, "chaos.xml")


def log_figures(session: Session, report: str) -> None:
    """Log what tests have measured."""
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name")
        for figure in case.iter("property"):
            session.log(f"{name}: {figure.get('value')} {figure.get('name')}")


@nox.session
def upstream(session: Session) -> None:
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
def fastapi_source(session: Session) -> Iterator[Path]:
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
def rendered_service(session: Session, *arguments: str) -> Iterator[Path]:
    """Render the working tree as it is, outside of git."""
    with tempfile.TemporaryDirectory() as name:
        snapshot = Path(name, "airtight")
        service = Path(name, "service")
        shutil.copytree(ROOT / "template", snapshot / "template", ignore=NOT_RENDERED)
        shutil.copy(ROOT / "copier.yml", snapshot)
        render = ("copier", "copy", "--defaults", "--quiet")
        session.run(*render, *arguments, str(snapshot), str(service), silent=True)
        yield service
