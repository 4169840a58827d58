"""The service starts, stops and fails to start as it should, however it is run."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.service import FAULTY, ROOT, access, copy_with, failures, launch, running

UVICORN = ["-m", "uvicorn", "src.main:app", "--port", "PORT"]


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "src.main"],
        UVICORN,
        ["-m", "uvicorn", "--factory", "src.main:create_app", "--port", "PORT"],
        [*UVICORN, "--workers", "2"],
    ],
    ids=["module", "uvicorn", "factory", "workers"],
)
def test_logs_are_the_same_however_it_is_started(command: list[str]) -> None:
    """Every line on stdout is a record of one form, and each request has one access line."""
    with running(*command) as service:
        correlation_id = service.get("/health/live").headers["x-request-id"]
        service.wait(lambda records: access(records, correlation_id))
    assert service.stop() in (0, -signal.SIGTERM)
    assert len(access(service.records(), correlation_id)) == 1
    assert "Application shutdown complete." in [r["message"] for r in service.records()]


def test_console_form_is_for_people() -> None:
    """With LOG_FORMAT=console the same fields are readable text, and cannot forge a line either."""
    service = launch("-m", "src.main", env={"LOG_FORMAT": "console"})
    try:
        while not any("Uvicorn running" in line for line in list(service.lines)):
            assert service.process.poll() is None
        service.get("/nowhere%0d%0aINFO forged", headers={"X-Request-ID": "readable"})
    finally:
        service.stop()
    (line,) = [line for line in service.lines if "readable" in line]
    assert " INFO     access: request" in line
    assert r"path=/nowhere\r\nINFO forged" in line


def test_wrong_setting_ends_the_start_with_one_line() -> None:
    """A wrong setting ends the process with one line that names it."""
    service = launch("-m", "src.main", env={"PORT": "99999", "LOG_LEVEL": "loud"})
    assert service.wait_for_exit() == 3
    assert service.lines == []
    (line,) = service.errors
    assert line.startswith("wrong settings: port: ")
    assert "log_level: " in line


# copier: if example == "decisions"
@pytest.mark.parametrize("command", [["-m", "src.main"], UVICORN], ids=["module", "uvicorn"])
def test_missing_model_ends_the_start(tmp_path: Path, command: list[str]) -> None:
    """Without its model the service does not start, and logs one CRITICAL."""
    model = tmp_path / "model.json"
    service = launch(*command, env={"MODEL_PATH": str(model)})
    assert service.wait_for_exit() != 0
    (record,) = failures(service.records())
    assert record["level"] == "CRITICAL"
    assert record["error"] == "CreditScoringModelNotFoundError"
    assert record["path"] == str(model)
    files = [line for line in record["exception"].splitlines() if line.startswith("  File ")]
    assert "/src/main.py" in [file for file in files if "pathlib" not in file][1]
    assert "uvicorn" not in record["exception"]
    assert service.errors == []


# copier: endif
def test_open_requests_finish_when_it_stops(tmp_path: Path) -> None:
    """After SIGTERM open requests finish within the grace period; the rest get 503 and a record."""
    folder = copy_with(FAULTY, tmp_path)
    command = ("-m", "uvicorn", "src.faulty:app", "--port", "PORT")
    grace = ("--timeout-graceful-shutdown", "2")
    with running(*command, *grace, cwd=folder) as service, ThreadPoolExecutor() as pool:
        quick = pool.submit(service.get, "/slow?seconds=1", headers={"X-Request-ID": "quick"})
        stuck = pool.submit(service.get, "/slow?seconds=60", headers={"X-Request-ID": "stuck"})
        service.get("/slow?seconds=0.3")  # by now the other two have arrived
        service.process.send_signal(signal.SIGTERM)
        assert quick.result().status_code == 200
        assert quick.result().json() == "done"
        assert stuck.result().status_code == 503
        assert stuck.result().headers["x-request-id"] == "stuck"
        assert service.wait_for_exit() in (0, -signal.SIGTERM)
    records = service.records()
    assert [r["status"] for r in access(records, "quick")] == [200]
    assert [r["status"] for r in access(records, "stuck")] == [503]
    (record,) = failures(service.records("stuck"))
    assert record["level"] == "ERROR"
    assert record["error"] == "UnavailableError"
    assert records[-1]["message"].startswith("Finished server process")


def test_broken_log_stream_breaks_no_request() -> None:
    """Where nobody reads the log, requests get their responses, and stderr says so in one line."""
    reader, writer = os.pipe()
    os.close(reader)
    with running(stdout=writer) as service:
        os.close(writer)
        assert [service.get("/health/live").status_code for _ in range(5)] == [200] * 5
        assert [service.get("/nowhere").status_code for _ in range(5)] == [404] * 5
    service.stop()
    (line,) = service.errors
    assert "records are lost" in line


def test_failed_task_and_thread_are_logged() -> None:
    """What fails outside of any request is logged in the same form."""
    code = (
        "import threading, src.main; thread = threading.Thread(target=lambda: 1 / 0);"
        "thread.start(); thread.join(); {}['main']"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    messages = [json.loads(line)["message"] for line in done.stdout.splitlines()]
    assert messages == ["a thread died", "uncaught exception"]
    assert done.stderr == ""
