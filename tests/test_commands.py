"""The commands of a rendered service do what its README says, beside each other and wherever it lies."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import copier
import httpx2
import pytest

from tests.support.dev import Served, served
from tests.support.services import ENVIRONMENT, make
from tests.support.template import Render


@pytest.fixture(scope="module")
def folder(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render one service for all tests of this file."""
    target = tmp_path_factory.mktemp("commands") / "service"
    copier.run_copy(str(snapshot), target, defaults=True, quiet=True)
    return target


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Served]:
    """Run `make dev` for tests that look at it from outside."""
    with served(folder) as service:
        make(folder, "request", PORT=str(service.port))
        yield service


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the service."""
    return subprocess.run(
        [sys.executable, "-m", "dev", *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def copy_of(folder: Path, target: Path) -> Path:
    """Return a copy of the service, without its environment and the data of its stores."""
    ignored = shutil.ignore_patterns(".venv", ".dev")
    return shutil.copytree(folder, target / "service", ignore=ignored)


def addresses(log: str) -> list[str]:
    """Return the addresses of the stores that `make dev` has printed."""
    return re.findall(r"(?m)^(?:PostgreSQL|Redis): +(\S+),", log)


@pytest.mark.usefixtures("running")
def test_commands_use_the_stores_of_make_dev(folder: Path) -> None:
    """Beside `make dev` its database is migrated, and prompts show what the service has stored."""
    assert "could not" not in make(folder, "migrate")
    count = make(folder, "psql", "args=-tAc 'SELECT count(*) FROM decisions'")
    assert count.split() == ["1"]
    if shutil.which("redis-cli"):
        assert make(folder, "redis-cli", "args=DBSIZE").split() == ["1"]


@pytest.mark.usefixtures("running")
def test_password_is_no_argument_of_a_prompt(folder: Path) -> None:
    """The list of processes, which shows arguments to everybody, has no password of a store."""
    shown = make(folder, "psql", "args=-c '\\! ps -ww -o args -p $$PPID'")
    assert "postgresql://app@" in shown


def test_port_that_is_taken_is_one_line(folder: Path, running: Served) -> None:
    """A second service on the same port ends with a line that names the setting."""
    done = run(folder, "dev", PORT=str(running.port))
    assert done.returncode == 1
    expected = f"port {running.port} is taken: stop what listens there, or set PORT to another"
    assert expected in done.stdout.splitlines()
    assert "Traceback" not in done.stdout


def test_stores_stay_where_they_are(folder: Path) -> None:
    """A start of `make dev` finds the stores on the ports of the last one; an open stream delays no end."""
    found = []
    for _ in range(2):
        with served(folder) as service:
            url = f"http://127.0.0.1:{service.port}/debug/errors/live"
            with httpx2.stream("GET", url) as events:
                assert next(events.iter_lines()) == "retry: 1000"
                service.stop(signal.SIGINT)
                service.process.wait(timeout=20)
        found.append(addresses(service.read_log()))
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_lint_runs_every_tool(folder: Path, tmp_path: Path) -> None:
    """`make lint` goes on after a check that fails, and names all that have failed at the end."""
    copy = copy_of(folder, tmp_path)
    (copy / "src" / "wrong.py").write_text('"""Wrong."""\nx: int = "1" \n', encoding="utf-8")
    done = run(copy, "lint")
    assert done.returncode == 1
    failed = "failed: ruff format --check ., ruff check ., mypy, lint-imports"
    assert done.stdout.splitlines()[-1] == failed
    assert "house rules" in done.stdout


def test_tools_leave_what_is_not_the_projects(folder: Path) -> None:
    """`make format` changes nothing in `.dev/`, also outside of git."""
    file = folder / ".dev" / "others.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("import  os\n", encoding="utf-8")
    assert run(folder, "format").returncode == 0
    assert file.read_text(encoding="utf-8") == "import  os\n"


def test_one_part_of_the_tests_runs(folder: Path) -> None:
    """`make test args=...` runs what the arguments select."""
    output = make(folder, "test", "args=tests/unit/test_house_rules.py --collect-only")
    assert "test_house_rules.py" in output
    assert "test_escapes.py" not in output


@pytest.mark.parametrize("message", ["add quota", 'drop "old" names\\ids.'])
def test_new_migration_is_lint_clean(folder: Path, tmp_path: Path, message: str) -> None:
    """A migration that Alembic writes needs no editing to pass the checks."""
    copy = copy_of(folder, tmp_path)
    revision = run(copy, "run", "alembic", "revision", "-m", message)
    assert revision.returncode == 0, revision.stdout
    for check in (("format", "--check"), ("check",)):
        done = run(copy, "run", "ruff", *check, "migrations")
        assert done.returncode == 0, done.stdout


def test_commands_work_in_a_workspace(render: Render, tmp_path: Path) -> None:
    """In a workspace of uv, whose environment lies at its root, the commands use that environment."""
    workspace = tmp_path / "workspace"
    folder = render(workspace / "service", example="none", stores=[], observability=[])
    (workspace / "pyproject.toml").write_text(
        '[project]\nname = "all"\nversion = "1"\nrequires-python = ">=3.11"\n'
        '[tool.uv.workspace]\nmembers = ["service"]\n',
        encoding="utf-8",
    )
    done = run(folder, "run", "python", "-c", "import fastapi, sys; print(sys.prefix)")
    assert done.stdout.splitlines()[-1] == str(workspace / ".venv")
    assert not (folder / ".venv").exists()
