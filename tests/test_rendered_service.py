"""What is rendered works: its own tests and checks pass, and its commands do what they say."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.services import make, run, served, uv_cache
from tests.support.template import ANCHORS, EVERYTHING, Answers, Render

SUITES = ANCHORS if EVERYTHING else {"default": ANCHORS["default"]}


@pytest.mark.all_cores
@pytest.mark.parametrize("answers", SUITES.values(), ids=SUITES)
def test_generated_suite_and_checks_pass(render: Render, answers: Answers) -> None:
    """The service's own tests pass with its coverage, and so do its checks."""
    folder = render(**answers)
    assert "Required test coverage of 95.0% reached" in make(folder, "test")
    check_lint(folder)


def check_lint(folder: Path) -> None:
    """The service's own checks pass."""
    checked = make(folder, "lint")
    assert "Contracts: 6 kept, 0 broken" in checked
    assert "files follow them" in checked


@pytest.mark.all_cores
@pytest.mark.skipif(EVERYTHING, reason="all tests of this service are run by the test before")
def test_tests_that_differ_from_those_of_the_default_pass(render: Render, tmp_path: Path) -> None:
    """What other answers change is tested as well: orders, who calls, and all observers."""
    default = render(tmp_path / "default")
    folder = render(**ANCHORS["orders"])
    different = [
        str(file.relative_to(folder))
        for file in sorted(folder.glob("tests/*/test_*.py"))
        if file.name != "test_chaos.py"  # takes a minute; `nox -s kinds` runs it
        and not is_same(file, default / file.relative_to(folder))
    ]
    assert "tests/integration/test_worker.py" in different
    assert " passed in " in make(folder, "test", f"args={' '.join(different)}")
    check_lint(folder)


def is_same(file: Path, other: Path) -> bool:
    """Return whether both files exist and hold the same."""
    return other.exists() and file.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("example", "fact", "stop"),
    [
        ("decisions", ("outcome", "approved"), signal.SIGINT),
        ("orders", ("status", "new"), signal.SIGTERM),
    ],
    ids=["decisions-ctrl-c", "orders-sigterm"],
)
def test_first_turn(
    render: Render, example: str, fact: tuple[str, str], stop: signal.Signals
) -> None:
    """`make dev` serves: a good request is a 201, a bad one a 422 and a WARNING; stopping it leaves nothing."""
    folder = render(example=example)
    before = {process.pid for process in psutil.process_iter()}
    with served(folder) as service:
        port = str(service.port)
        good, bad = make(folder, "request", PORT=port), make(folder, "bad-request", PORT=port)
        assert " 201 Created" in good
        assert json.loads(good.splitlines()[-1])[fact[0]] == fact[1]
        assert " 422 " in bad
        if example == "orders":
            service.wait_for("outcome=emitted")  # by the worker
        os.killpg(service.process.pid, stop)
        service.process.wait()
    log = service.log.read_text(encoding="utf-8")
    assert len(re.findall(r"WARNING +errors: request is not valid", log)) == 1
    deadline = time.monotonic() + 10
    while left := [
        p
        for p in psutil.process_iter(["cmdline"])
        if p.pid not in before and str(folder) in str(p.info["cmdline"])
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_answers_are_as_documented_whatever_is_sent(render: Render) -> None:
    """Requests that a fuzzer makes from the service's own OpenAPI get no 5xx and no undocumented answer."""
    folder = render()
    with served(folder) as service:
        schema = f"http://127.0.0.1:{service.port}/openapi.json"
        limits = (
            "--checks=all",
            "--max-examples=25",
            "--seed=1",
            "--continue-on-failure",
            "--no-color",
        )
        fuzzer = [str(Path(sys.executable).with_name("schemathesis")), "run", schema, *limits]
        done = subprocess.run(fuzzer, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert int(re.findall(r"(\d+) generated, \1 passed", done.stdout)[0]) > 150
    log = service.log.read_text(encoding="utf-8")
    assert re.findall(r"(?m)^\S+ (?:ERROR|CRITICAL) .*", log) == []
    assert "status=422" in log


def test_client_can_be_generated(render: Render, tmp_path: Path) -> None:
    """A generator makes a client of the OpenAPI document without a warning, and its types hold."""
    folder = render(example="orders")
    write = "import json; from src.main import app; print(json.dumps(app.openapi()))"
    document = tmp_path / "openapi.json"
    printed = run(folder, sys.executable, "-m", "dev", "run", "python", "-c", write).stdout
    document.write_text(printed.splitlines()[-1], encoding="utf-8")
    client = tmp_path / "client"
    generator = Path(sys.executable).with_name("openapi-python-client")
    options = ("--path", str(document), "--output-path", str(client), "--meta", "none")
    generated = run(tmp_path, str(generator), "generate", *options, "--fail-on-warning")
    assert generated.returncode == 0, generated.stdout
    models = {file.stem for file in (client / "models").glob("*.py")}
    assert models >= {"order", "new_order", "emission", "problem", "validation_problem"}
    assert (client / "api" / "orders" / "create_order.py").exists()
    own_cache = {"MYPY_CACHE_DIR": ".mypy_cache"}  # since services have other options
    checked = run(tmp_path, sys.executable, "-m", "mypy", "client", **own_cache).stdout
    errors = [line for line in checked.splitlines() if ": error: " in line]
    # The generator's own file is the same for each service.
    assert [line for line in errors if not line.startswith("client/client.py")] == []
    assert "checked" in checked.splitlines()[-1]


def test_tests_pass_on_a_bare_machine(render: Render, tmp_path: Path) -> None:
    """`make test` works as the first command where there is only Python, pip, make and git."""
    folder = render(example="none")
    bare = tmp_path / "bin"
    bare.mkdir()
    for name in ("make", "git"):
        (bare / name).symlink_to(shutil.which(name) or name)
    real = Path(sys._base_executable)  # type: ignore[attr-defined]
    (bare / "python3").symlink_to(real)
    env = {"PATH": str(bare), "HOME": str(tmp_path), "UV_CACHE_DIR": uv_cache()} | {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "SSL_", "UV_"))
    }
    command = ["make", "test"]
    if not EVERYTHING:
        command.append("args=tests/integration/test_readiness.py")
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (folder / ".dev" / "uv").exists()
    assert (folder / ".dev" / "redis-server").exists()
