"""The service starts, stops and fails to start as it should, however it is run."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.support.service import (
    FAULTY,
    Service,
    access,
    assert_fields,
    copy_with,
    failures,
    launch,
    request_id,
    run,
    running,
    statuses,
    wait_until_live,
)

MODULE = ["-m", "src.main"]
UVICORN = ["-m", "uvicorn", "src.main:app", "--port", "PORT"]
FACTORY = [
    "-m",
    "uvicorn",
    "--factory",
    "src.main:create_app",
    "--port",
    "PORT",
]
TWO_WORKERS = ["--workers", "2", "--timeout-worker-healthcheck", "60"]
STOPPED = (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    "command",
    [MODULE, UVICORN, FACTORY, [*UVICORN, *TWO_WORKERS]],
    ids=["module", "uvicorn", "factory", "workers"],
)
def test_logs_are_the_same_however_it_is_started(
    command: list[str],
) -> None:
    """Every line on stdout is a record of one form, and each request has one access line."""
    with running(*command) as service:
        correlation_id = request_id(service.get("/health/live"))
        service.wait(lambda records: access(records, correlation_id))
    assert service.stop() in STOPPED
    records = service.records()
    assert len(access(records, correlation_id)) == 1
    messages = [record["message"] for record in records]
    assert "Application shutdown complete." in messages


@pytest.mark.parametrize(
    ("command", "reloader"),
    [
        ("run", []),
        ("dev", ["Will watch", "Uvicorn running", "Started reloader", "Stopping reloader"]),
    ],
)
def test_fastapi_command_keeps_the_form_of_records(command: str, reloader: list[str]) -> None:
    """After the banner every line is a record; only a reloader writes lines of its own."""
    service = launch("-m", "fastapi", command, "--host", "127.0.0.1", "--port", "PORT")
    wait_until_live(service)
    assert service.stop(signal.SIGINT) in STOPPED
    text = "".join(service.lines)
    banner, _, log = text.partition("Logs:")
    assert "src.main:app" in banner
    messages = [json.loads(line)["message"] for line in log.splitlines() if line.strip()]
    assert messages.count("Application startup complete.") == 1
    assert "request" in messages
    assert len(service.errors) == len(reloader)
    for line, start in zip(service.errors, reloader, strict=True):
        assert line.partition("INFO:")[2].strip().startswith(start)


def test_console_form_is_for_people() -> None:
    """With LOG_FORMAT=console the same fields are readable text, and cannot forge a line either."""
    headers = {"X-Request-ID": "readable"}
    service = launch(*MODULE, env={"LOG_FORMAT": "console"})
    try:
        while "Uvicorn running" not in "".join(service.lines):
            assert service.process.poll() is None
        service.get("/nowhere%0d%0aINFO forged", headers=headers)
    finally:
        service.stop()
    (line,) = [line for line in service.lines if "readable" in line]
    assert " INFO     access: request" in line
    assert r"path=/nowhere\r\nINFO forged" in line


def test_wrong_setting_ends_the_start_with_one_line() -> None:
    """A wrong setting ends the process with one line that names it."""
    settings = {"PORT": "99999", "LOG_LEVEL": "loud"}
    service = launch(*MODULE, env=settings)
    assert service.wait_for_exit() == 3
    assert service.lines == []
    (line,) = service.errors
    assert line.startswith("wrong settings: port: ")
    assert "log_level: " in line


FORM = """
import sys
sys.modules["python_multipart"] = sys.modules["multipart"] = None
from fastapi import Form
from src.main import create_app

app = create_app()

@app.post("/form")
def create(name: str = Form()): ...
"""


def test_missing_package_for_forms_is_one_record(tmp_path: Path) -> None:
    """A form without python-multipart ends the start with one record, which names the package."""
    module = tmp_path / "form.py"
    module.write_text(FORM, encoding="utf-8")
    folder = copy_with(module, tmp_path / "copy")
    service = launch("-m", "uvicorn", "src.faulty:app", "--port", "PORT", cwd=folder)
    assert service.wait_for_exit() != 0
    (record,) = service.records()
    assert_fields(record, level="CRITICAL", error="RuntimeError")
    assert "python-multipart" in record["exception"]


# copier: if example == "decisions"
@pytest.mark.parametrize("command", [MODULE, UVICORN], ids=["module", "uvicorn"])
def test_missing_model_ends_the_start(tmp_path: Path, command: list[str]) -> None:
    """Without its model the service does not start, and logs one CRITICAL."""
    model = tmp_path / "model.json"
    service = launch(*command, env={"MODEL_PATH": str(model)})
    assert service.wait_for_exit() != 0
    (record,) = failures(service.records())
    assert_fields(
        record,
        level="CRITICAL",
        error="CreditScoringModelNotFoundError",
        path=str(model),
    )
    text = record["exception"]
    files = [
        line for line in text.splitlines() if line.startswith("  File ") and "pathlib" not in line
    ]
    assert "/src/main.py" in files[1]
    assert "uvicorn" not in text
    assert service.errors == []


# copier: endif
def test_open_requests_finish_when_it_stops(tmp_path: Path) -> None:
    """After SIGTERM open requests finish within the grace period; the rest get 503 and a record."""
    folder = copy_with(FAULTY, tmp_path)
    command = [
        "-m",
        "uvicorn",
        "src.faulty:app",
        "--port",
        "PORT",
        "--timeout-graceful-shutdown",
        "2",
    ]
    with (
        running(*command, cwd=folder) as service,
        ThreadPoolExecutor() as pool,
    ):
        quick = pool.submit(get_slow, service, 1, "quick")
        stuck = pool.submit(get_slow, service, 60, "stuck")
        # Once this one is done, the other two have arrived.
        get_slow(service, 0.3, "third")
        service.process.send_signal(signal.SIGTERM)
        assert quick.result().status_code == 200
        assert quick.result().json() == "done"
        assert stuck.result().status_code == 503
        assert request_id(stuck.result()) == "stuck"
        assert service.wait_for_exit() in STOPPED
    assert statuses(service.records("quick")) == [200]
    assert statuses(service.records("stuck")) == [503]
    (record,) = failures(service.records("stuck"))
    assert_fields(record, level="ERROR", error="UnavailableError")
    last = service.records()[-1]["message"]
    assert last.startswith("Finished server process")


def get_slow(service: Service, seconds: float, correlation_id: str) -> httpx2.Response:
    """Send a request that takes so many seconds."""
    return service.get(
        "/slow",
        params={"seconds": seconds},
        headers={"X-Request-ID": correlation_id},
    )


def test_broken_log_stream_breaks_no_request() -> None:
    """Where nobody reads the log, requests get their responses, and stderr says so in one line."""
    reader, writer = os.pipe()
    os.close(reader)
    with running(stdout=writer) as service:
        os.close(writer)
        for _ in range(5):
            assert service.get("/health/live").status_code == 200
            assert service.get("/nowhere").status_code == 404
    service.stop()
    (line,) = service.errors
    assert "records are lost" in line


FULL_STREAMS = """
import os, runpy
full = os.open("/dev/full", os.O_WRONLY)
os.dup2(full, 1)
os.dup2(full, 2)
runpy.run_module("src.main", run_name="__main__")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_full_disk_breaks_no_request() -> None:
    """Where neither the log nor a complaint about it can be written, requests are answered."""
    with running("-c", FULL_STREAMS) as service:
        statuses = [service.get("/nowhere").status_code for _ in range(100)]
        code = service.stop()
    assert statuses == [404] * 100
    assert code in (0, -signal.SIGTERM)


def test_reader_that_stops_delays_no_request() -> None:
    """Where the log fills its pipe, requests are answered, and the service stops."""
    reader, writer = os.pipe()
    with running(stdout=writer) as service:
        os.close(writer)
        path = "/" + "a" * 1_000
        statuses = [service.get(path).status_code for _ in range(500)]
        code = service.stop()
    os.close(reader)
    assert statuses == [404] * 500
    assert code in (0, -signal.SIGTERM)


FAILING_SCRIPT = """
import threading
import src.main

thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
{}['main']
"""


def test_failed_task_and_thread_are_logged() -> None:
    """What fails outside of any request is logged in the same form."""
    done = run("-c", FAILING_SCRIPT)
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stdout.splitlines()]
    messages = [record["message"] for record in records]
    assert messages == ["a thread died", "uncaught exception"]
    assert done.stderr == ""
