"""The commands of a service, its hooks and its pipelines work where and as people use them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.support.repositories import commit, git, take_template
from tests.support.repositories import copier as copier_command
from tests.support.services import ENVIRONMENT, Done, Served, make, run, served, uv_cache
from tests.support.template import IGNORED, Render, render_into

UNFORMATTED = "a=1\n"
WRONG_TYPE = '"""A module."""\n\nnumber: int = "one"\n'
HOUSE_RULES = re.compile(r"house rules: \d+ files follow them")
# https://docs.gitlab.com/ci/jobs/#job-name-limitations
RESERVED_IN_GITLAB = {
    "after_script",
    "before_script",
    "cache",
    "false",
    "image",
    "include",
    "nil",
    "services",
    "stages",
    "true",
    "types",
    "variables",
}
GLOBAL_IN_GITLAB = {
    "default",
    "workflow",
}
STREAM = '''

@router.get("/endless")
async def endless() -> StreamingResponse:
    """Send something each second, for ever."""

    async def events() -> AsyncIterator[str]:
        while True:
            yield "data: x\\n\\n"
            await asyncio.sleep(1)

    return StreamingResponse(events(), media_type="text/event-stream")
'''
STREAM_IMPORTS = """import asyncio
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
"""


@pytest.fixture(scope="module")
def environment_folder(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render a service and install what it needs."""
    folder = tmp_path_factory.mktemp("commands") / "service"
    render_into(folder, snapshot, {})
    run_command(folder, "run", "python", "--version")
    return folder


@pytest.fixture
def project(environment_folder: Path, tmp_path: Path) -> Path:
    """A service of the test's own; its environment is installed."""
    folder = tmp_path / "service"
    shutil.copytree(environment_folder, folder, ignore=IGNORED)
    shutil.copy(environment_folder / "uv.lock", folder)
    (folder / ".venv").symlink_to(environment_folder / ".venv")
    return folder


def run_command(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run `python -m dev` in a folder, and return its exit code and output."""
    return run(folder, sys.executable, "-m", "dev", *arguments, **environment)


def append(file: Path, text: str) -> None:
    """Add a text at the end of a file."""
    with file.open("a", encoding="utf-8", newline="\n") as opened:
        opened.write(text)


def prepend(file: Path, text: str) -> None:
    """Add a text at the start of a file."""
    content = file.read_text(encoding="utf-8")
    file.write_text(f"{text}{content}", encoding="utf-8", newline="\n")


def bare_path(folder: Path, *programs: str) -> str:
    """Return a PATH on which there are only these programs."""
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)
    return str(folder)


# Checks


def test_lint_runs_every_tool_and_fails_at_the_end(project: Path) -> None:
    """What is wrong for the first tool does not hide what is wrong for the others."""
    (project / "src/unformatted.py").write_text(UNFORMATTED, encoding="utf-8")
    (project / "tests/wrong_type.py").write_text(WRONG_TYPE, encoding="utf-8")
    done = run_command(project, "lint")
    assert done.returncode == 1
    assert "unformatted: File would be reformatted" in done.stdout
    assert "D100 Missing docstring in public module" in done.stdout
    assert "tests/wrong_type.py:3: error: Incompatible types" in done.stdout
    assert "Contracts: 5 kept, 1 broken." in done.stdout  # each module of src has a layer
    assert HOUSE_RULES.search(done.stdout)
    failed = "failed: ruff format --check ., ruff check ., mypy, lint-imports"
    assert done.stdout.splitlines()[-1] == failed


def test_lint_runs_where_the_service_does_not_start(project: Path) -> None:
    """A mistake that keeps the settings from being imported is found by the tools."""
    append(project / "src/config.py", "def broken(:\n")
    done = run_command(project, "lint")
    assert "Traceback" not in done.stdout
    assert "invalid-syntax" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("failed: ruff format --check ., ruff check .")


def test_lint_lists_what_an_update_would_merge(project: Path) -> None:
    """A changed file of the machine is listed, and is no failure; uv's own source is not looked at."""
    prepend(project / "src/airtight/hooks.py", "# ours\n")
    foreign = project / ".dev/uv/uv/_find_uv.py"
    foreign.parent.mkdir(parents=True)
    foreign.write_text(UNFORMATTED, encoding="utf-8")
    done = run_command(project, "lint")
    assert done.returncode == 0, done.stdout
    differing = re.findall(r"(\S+) differs from what was rendered", done.stdout)
    assert differing == ["src/airtight/hooks.py"]
    assert ".dev" not in done.stdout


def test_list_holds_after_an_update(tmp_path: Path) -> None:
    """After an update, the files that differ are those of the user, not those that came with it."""
    template = tmp_path / "airtight"
    template.mkdir()
    take_template(template)
    commit(template, "One", "v1.0.0")
    project = tmp_path / "service"
    options = ["--defaults", "--quiet"]
    skeleton = ["--data=example=none", "--data=stores=[]", "--data=ci=none"]
    done = copier_command(tmp_path, "copy", *options, *skeleton, str(template), str(project))
    assert done.returncode == 0, done.stderr
    assert changed_files(project) == []
    prepend(project / "src/airtight/hooks.py", "# ours\n")
    commit(project, "Start")
    assert changed_files(project) == ["src/airtight/hooks.py"]
    for module in ("boundary", "logging/access"):
        prepend(template / f"template/src/airtight/{module}.py", "# new\n")
    commit(template, "Two", "v2.0.0")
    done = copier_command(project, "update", *options)
    assert done.returncode == 0, done.stderr
    assert "# new" in (project / "src/airtight/logging/access.py").read_text(encoding="utf-8")
    assert changed_files(project) == ["src/airtight/hooks.py"]


def changed_files(project: Path) -> list[str]:
    """Return what `make lint` lists, without the checks that come before."""
    code = "from dev.rendered import changed_files; print(*changed_files())"
    return subprocess.check_output([sys.executable, "-c", code], cwd=project, text=True).split()


def test_format_leaves_what_is_fetched_alone(project: Path) -> None:
    """`make format` formats the service, and nothing in `.dev/`."""
    own = project / "src/unformatted.py"
    foreign = project / ".dev/uv/uv/_find_uv.py"
    foreign.parent.mkdir(parents=True)
    for file in (own, foreign):
        file.write_text('"""A module."""\na=1\n', encoding="utf-8")
    done = run_command(project, "format")
    assert done.returncode == 0, done.stdout
    assert own.read_text(encoding="utf-8") == '"""A module."""\n\na = 1\n'
    assert foreign.read_text(encoding="utf-8") == '"""A module."""\na=1\n'


def test_hooks_need_no_uv_on_path(project: Path, tmp_path: Path) -> None:
    """The hooks of pre-commit work with the uv that the commands have fetched."""
    (project / ".dev/uv/bin").mkdir(parents=True)
    (project / ".dev/uv/bin/uv").symlink_to(shutil.which("uv") or "uv")
    unformatted = project / "src/api/unformatted.py"
    unformatted.write_text('"""A module."""\na=1\n', encoding="utf-8")
    commit(project, "Start")
    environment = ENVIRONMENT | {
        "PATH": bare_path(tmp_path / "bin", "git", "python3"),
        "PRE_COMMIT_HOME": str(tmp_path / "pre-commit"),
        "UV_CACHE_DIR": uv_cache(),
    }
    first = run_hooks(project, environment)
    assert first.returncode == 1, first.stdout
    assert "1 file reformatted" in first.stdout
    git(project, "add", "--all")
    second = run_hooks(project, environment)
    assert second.returncode == 0, second.stdout
    hooks = re.findall(r"(?m)^(.+?)\.{3,}Passed$", second.stdout)
    assert hooks == ["format", "rules", "types", "import contracts", "house rules"]


def run_hooks(project: Path, environment: dict[str, str]) -> Done:
    """Run the hooks of pre-commit on all files."""
    return subprocess.run(
        [str(project / ".venv/bin/pre-commit"), "run", "--all-files"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_path_is_tested(project: Path) -> None:
    """Tests can be selected, with make and without, and need not cover everything then."""
    test = project / "tests/unit/test_own.py"
    test.write_text("def test_a() -> None: ...\ndef test_b() -> None: ...\n", encoding="utf-8")
    assert " 2 passed" in make(project, "test", "args=tests/unit/test_own.py")
    assert " 1 passed" in make(project, "test", 'args=tests/unit/test_own.py -k "test_a"')
    done = run_command(project, "test", "tests/unit/test_own.py")
    assert " 2 passed" in done.stdout
    assert "coverage" not in done.stdout
    missing = run_command(project, "test", "tests/unit/test_mine.py")
    assert missing.returncode != 0
    assert "no test is selected by: tests/unit/test_mine.py\n" in missing.stdout


def test_new_migration_passes_the_checks(project: Path) -> None:
    """What Alembic writes for a new version is as `make lint` wants it, whatever its message."""
    messages = ["add customers", 'say "hello"', "C:\\temp is gone.", "Über", "a" * 200]
    for number, message in enumerate(messages):
        revision = ["alembic", "revision", f"--rev-id=100{number}", "-m", message]
        done = run_command(project, "run", *revision)
        assert done.returncode == 0, done.stdout
    for tool in (["format", "--check"], ["check"]):
        done = run_command(project, "run", "ruff", *tool, ".")
        assert done.returncode == 0, done.stdout
    done = run_command(project, "migrate")
    assert done.returncode == 0, done.stdout
    done = run_command(project, "psql", "-c", "SELECT version_num FROM alembic_version")
    assert "1004" in done.stdout


def test_migrations_are_numbered_and_taken_back(project: Path) -> None:
    """`make migration` writes what lint accepts, `make rollback` takes the newest back."""
    for name in ("add quota", 'it\'s "quoted"'):
        done = run_command(project, "migration", name)
        assert done.returncode == 0, done.stdout
    names = [file.name for file in (project / "migrations/versions").glob("*.py")]
    assert sorted(names) == ["0001_decisions.py", "0002_add_quota.py", "0003_it_s_quoted.py"]
    for tool in (["format", "--check"], ["check"]):
        done = run_command(project, "run", "ruff", *tool, ".")
        assert done.returncode == 0, done.stdout
    version = ["psql", "--tuples-only", "-c", "SELECT version_num FROM alembic_version"]
    for command, expected in (("migrate", " 0003\n"), ("rollback", " 0002\n")):
        done = run_command(project, command)
        assert done.returncode == 0, done.stdout
        assert expected in run_command(project, *version).stdout
    nameless = make_fails(project, "migration")
    assert 'name the migration: make migration name="add quota"\n' in nameless


def make_fails(folder: Path, target: str) -> str:
    """Run make in a folder, which has to fail, and return what it prints."""
    done = run(folder, "make", f"PYTHON={sys.executable}", target)
    assert done.returncode
    return done.stdout


# Stores and the service


def store_ports(service: Served) -> list[str]:
    """Return where the stores listen, as `make dev` says."""
    return re.findall(r"(?:PostgreSQL|Redis): +127\.0\.0\.1:(\d+)", service.read_log())


def is_open(port: str) -> bool:
    """Return whether somebody listens on a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(port))) == 0


def stop(service: Served) -> None:
    """Stop `make dev` as Ctrl-C does, and wait for its end."""
    os.killpg(service.process.pid, signal.SIGINT)
    service.process.wait(timeout=60)


def test_commands_mean_the_stores_of_make_dev(project: Path) -> None:
    """Migrations and prompts use the stores of the running service, whose ports stay the same."""
    count = ["psql", "--tuples-only", "-c", "SELECT count(*) FROM decisions"]
    with served(project) as service:
        ports = store_ports(service)
        assert len(ports) == 2
        make(project, "request", PORT=str(service.port))
        run_command(project, "run", "alembic", "revision", "--rev-id=2000", "-m", "more")
        make(project, "migrate")
        assert " 1\n" in run_command(project, *count).stdout
        version = make(project, "psql", 'args=-c "SELECT version_num FROM alembic_version"')
        assert "2000" in version
        assert f"tcp_port:{ports[1]}" in make(project, "redis-cli", "args=INFO server")
        stop(service)
    assert " 1\n" in run_command(project, *count).stdout
    with served(project) as service:
        assert store_ports(service) == ports


def test_store_runs_until_its_last_user_leaves(project: Path) -> None:
    """A prompt that has started the stores does not stop them under the service that uses them."""
    with prompt_on_redis(project) as prompt, served(project) as service:
        prompt.communicate("PING\n", timeout=60)
        assert prompt.returncode == 0
        assert " 201 Created" in make(project, "request", PORT=str(service.port))
        ports = store_ports(service)
        stop(service)
    assert not any(map(is_open, ports))


def prompt_on_redis(project: Path) -> subprocess.Popen[str]:
    """Start `make redis-cli`, and return it when it has the answer to a first command."""
    prompt = subprocess.Popen(
        [sys.executable, "-m", "dev", "redis-cli"],
        cwd=project,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert prompt.stdin
    assert prompt.stdout
    prompt.stdin.write("PING\n")
    prompt.stdin.flush()
    assert prompt.stdout.readline() == "PONG\n"
    return prompt


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "in-time"])
def test_no_store_is_left(project: Path, killed: bool) -> None:
    """Stores that a killed command has left behind are stopped by the next one."""
    with served(project) as service:
        ports = store_ports(service)
        if killed:
            os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait()
            assert "PONG" in make(project, "redis-cli", "args=PING")
        else:
            stop(service)
    assert not any(map(is_open, ports))


def test_stores_are_started_by_one_command_alone(project: Path) -> None:
    """Of two commands that start at the same instant one waits, and uses what the other started."""
    query = "SELECT pg_postmaster_start_time() FROM pg_sleep(2)"
    command = ["psql", "--no-align", "--tuples-only", "-c", query]
    processes = [
        subprocess.Popen(
            [str(project / ".venv/bin/python"), "-m", "dev.commands", *command],
            cwd=project,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = sorted(outputs)
    assert first[0] == "another command starts or stops PostgreSQL, waiting ..."
    assert second[0] == "creating the files of PostgreSQL ..."
    assert first[-1] == second[-1]


def test_missing_client_is_one_line(project: Path, tmp_path: Path) -> None:
    """Where there is no redis-cli, one line says what to install."""
    path = bare_path(tmp_path / "bin", "uv", "redis-server")
    done = run_command(project, "redis-cli", PATH=path, UV_CACHE_DIR=uv_cache())
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert "redis-tools" in line


def test_taken_port_is_one_line(project: Path) -> None:
    """`make dev` on a port on which somebody listens names the setting."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run_command(project, "dev", PORT=str(port))
    assert done.returncode == 1
    *progress, line = done.stdout.splitlines()
    assert line == f"port {port} is taken: stop what listens there, or set PORT to another"
    assert all(step.endswith(" ...") for step in progress)


@pytest.fixture
def streaming(project: Path) -> Iterator[Served]:
    """`make dev` with a client that reads from a stream without an end."""
    health = project / "src/api/health.py"
    text = health.read_text(encoding="utf-8")
    first = text.index("\nfrom ")
    text = f"{text[:first]}\n{STREAM_IMPORTS}{text[first:]}{STREAM}"
    health.write_text(text, encoding="utf-8")
    with served(project) as service:
        url = f"http://127.0.0.1:{service.port}/health/endless"
        with httpx2.stream("GET", url, timeout=None) as response:
            assert response.status_code == 200, service.read_log()
            yield service


def test_open_stream_does_not_delay_a_reload(project: Path, streaming: Served) -> None:
    """After a change the service starts again, although somebody still reads a stream."""
    append(project / "src/api/health.py", "\n")
    streaming.wait_for("Application startup complete", count=2)


def test_open_stream_does_not_delay_ctrl_c(streaming: Served) -> None:
    """Ctrl-C ends the service, although somebody still reads a stream."""
    stop(streaming)
    assert "\nstopped\n" in streaming.read_log()


# Containers

# Succeeds, but for what FAILS names.
FAKE_DOCKER = f"""#!{sys.executable}
import os, sys

command = " ".join(sys.argv[1:])
if command == "compose config --format json":
    print('{{"volumes": {{"postgres": {{"name": "postgres"}}}}}}')
failing = ["volume inspect", os.environ["FAILS"]]
sys.exit(any(command.startswith(words) for words in failing))
"""
FAILURES = {
    "ps": "no Docker engine answers",
    "compose config --quiet": "",
    "compose build": "the image could not be built",
}


def test_failing_up_changes_nothing(project: Path, tmp_path: Path) -> None:
    """Passwords are written once nothing is in the way of the containers, and not before."""
    path = bare_path(tmp_path / "bin", "uv")
    docker = tmp_path / "bin" / "docker"
    docker.write_text(FAKE_DOCKER, encoding="utf-8")
    docker.chmod(0o755)

    def up(port: int, fails: str) -> Done:
        return run_command(project, "up", PATH=path, PORT=str(port), FAILS=fails)

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = up(port, "nothing")
        assert f"port {port} is taken" in done.stdout
        assert not (project / ".env").exists()
    for fails, reason in FAILURES.items():
        done = up(port, fails)
        assert done.returncode == 1
        assert reason in done.stdout
        assert not (project / ".env").exists()
    done = up(port, "nothing")
    assert done.returncode == 0, done.stdout
    written = (project / ".env").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^(\w+)_PASSWORD=[\w-]{32}$", written) == ["POSTGRES", "REDIS"]


# Elsewhere


def test_workspace_of_uv(render: Render, tmp_path: Path) -> None:
    """Within a workspace, the commands use its environment, and leave what others have installed."""
    folder = render(tmp_path / "services/decisions", example="none", stores=[], observability=[])
    other = tmp_path / "services/other"
    other.mkdir()
    project = '[project]\nname = "other"\nversion = "0"\nrequires-python = ">=3.11"\n'
    dependency = f'{project}dependencies = ["humanize>=4.9"]\n'
    (other / "pyproject.toml").write_text(dependency, encoding="utf-8")
    workspace = '[tool.uv.workspace]\nmembers = ["services/*"]\n'
    (tmp_path / "pyproject.toml").write_text(workspace, encoding="utf-8")
    sync = [sys.executable, "-m", "uv", "sync", "--all-packages", "--quiet"]
    subprocess.run(sync, cwd=tmp_path, env=ENVIRONMENT, check=True)
    code = "import humanize, sys; print(sys.prefix)"
    done = run_command(folder, "run", "python", "-c", code)
    assert done.stdout.splitlines()[-1] == str(tmp_path / ".venv")
    assert not (folder / ".venv").exists()
    done = run_command(folder, "run", "lint-imports")
    assert done.returncode == 0, done.stdout


def test_jobs_of_gitlab_have_names_of_their_own(render: Render) -> None:
    """No job has the name of a keyword, which GitLab refuses."""
    folder = render(ci="gitlab")
    text = (folder / ".gitlab-ci.yml").read_text(encoding="utf-8")
    jobs = {name: job for name, job in yaml.safe_load(text).items() if name not in GLOBAL_IN_GITLAB}
    assert set(jobs) == {"lint", "test", "dependencies", "containers"}
    assert not RESERVED_IN_GITLAB & set(jobs)
    for job in jobs.values():
        assert job["script"]
