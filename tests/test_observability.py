"""What a rendered service tells is understood by the tools that listen to it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.browser import MISSING, browser
from tests.conftest import Answers, Render
from tests.test_rendered_service import free_port

OBSERVED: dict[str, Answers] = {
    "default": {},
    "skeleton": {"example": "none", "stores": []},
    "reserved-word": {"example": "none", "stores": ["redis"], "project_slug": "null"},
}


def program(name: str) -> str:
    """Return the path of one of Prometheus' programs."""
    return shutil.which(name) or pytest.fail(f"{name} is not on PATH; `apt-get install prometheus` brings it")


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool where the rules are."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, cwd=folder / "deploy/observability", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("answers", OBSERVED.values(), ids=OBSERVED)
def test_alerts_come_when_they_should(render: Render, answers: Answers) -> None:
    """Rules and configuration are valid, and the rules' own tests pass."""
    folder = render(**answers)
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool(folder, *command)
        assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('level="CRITICAL"', 'level="ERROR"'),
        ("> 0.05", "> 0.01"),
        ("> 0.05", "> 0.11"),
        ('"5.."', '"[45].."'),
        ('method!="WEBSOCKET"', 'method!="GET"'),
        ("> 1", "> 2"),
        ("for: 10m", "for: 1m"),
        ("up{", "down{"),
        ("min by", "max by"),
        ('state="waiting"', 'state="in_use"'),
    ],
)
def test_alerts_that_are_wrong_fail_their_tests(render: Render, right: str, wrong: str) -> None:
    """Whoever breaks a rule is told by its tests."""
    folder = render()
    rules = folder / "deploy/observability/alerts.yml"
    text = rules.read_text(encoding="utf-8")
    assert right in text
    rules.write_text(text.replace(right, wrong), encoding="utf-8")
    assert promtool(folder, "test", "rules", "alerts_test.yml").returncode == 1


def get(url: str) -> Any:
    """Return what a URL answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def until(ready: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what `ready` returns as soon as that is something."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := ready():
                return found
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_crash_becomes_an_alert(render: Render, tmp_path: Path) -> None:
    """A real Prometheus reads the service; the first crash fires, a store that is away is about to."""
    folder = render(example="none", stores=["redis"])
    shutil.copy(folder / "tests/integration/faulty.py", folder / "src")
    service, prometheus = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    config = folder / "deploy/observability/prometheus.yml"
    text = config.read_text(encoding="utf-8").replace("15s", "1s").replace("service:8000", service)
    config.write_text(text, encoding="utf-8")
    commands = [
        [sys.executable, "-m", "uvicorn", "src.faulty:app", "--port", service.split(":")[1]],
        [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data"],
    ]
    commands[1] += [f"--web.listen-address={prometheus}", "--log.level=warn"]
    env = os.environ | {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    processes = [subprocess.Popen(c, cwd=folder, env=env, stdout=subprocess.DEVNULL) for c in commands]
    try:
        alerts = f"http://{prometheus}/api/v1/alerts"
        up = f"http://{prometheus}/api/v1/query?query=errors_total"
        until(lambda: get(up)["data"]["result"])
        assert "CriticalError" not in str(get(alerts))
        with pytest.raises(OSError, match="500"):
            get(f"http://{service}/crash/async")
        until(
            lambda: {"CriticalError", "StoreAway"} <= {a["labels"]["alertname"] for a in get(alerts)["data"]["alerts"]}
        )
        states = {a["labels"]["alertname"]: (a["state"], a["labels"]) for a in get(alerts)["data"]["alerts"]}
        assert states["CriticalError"][0] == "firing"
        assert states["CriticalError"][1]["error"] == "unexpected"
        assert states["StoreAway"][1]["store"] == "redis"
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=30)


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """Run a service that has routes which go wrong, until the end of the block, at which it stops by itself."""
    shutil.copy(folder / "tests/integration/faulty.py", folder / "src")
    command = [sys.executable, "-m", "uvicorn", "src.faulty:app", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: get(f"{url}/health/live"))
            yield url
            process.terminate()
            process.wait(timeout=60)
        finally:
            process.kill()


def crash(url: str, text: str) -> None:
    """Have an endpoint fail with a text."""
    with pytest.raises(OSError, match="500"):
        get(f"{url}/crash/at/{quote(text)}")


@pytest.mark.parametrize(
    "answers",
    [
        {"example": "none", "stores": [], "error_format": "message", "observability": []},
        {"example": "none", "stores": [], "observability": ["opentelemetry", "sentry"]},
    ],
    ids=["least", "observed"],
)
def test_failures_appear_live_in_a_browser(render: Render, tmp_path: Path, answers: Answers) -> None:
    """A page that is open shows what fails, before and after a restart, and whatever it says is only text."""
    folder, port = render(**answers), free_port()
    evil = "<script>document.title='ran'</script><img src=//elsewhere.example onerror=document.title='ran'>"
    entry = "document.querySelector('li:first-child')?.innerText"
    live = "document.querySelector('output').innerText == 'live'"
    with browser(tmp_path / "profile") as tab:
        with served(folder, port) as url:
            tab.open(f"{url}/debug/errors")
            title = tab.run("document.title")
            assert "Nothing here yet" in tab.run("document.body.innerText")
            assert tab.until(live)
            crash(url, evil)
            assert f"LookupError\nGET /crash/at/{evil} 500" in tab.until(entry)
            tab.run("document.querySelector('summary').click()")
            assert f"\nLookupError: {evil}\n" in tab.run(entry)
        assert tab.until("document.querySelector('output').innerText == 'waiting for the service'")
        with served(folder, port) as url:
            assert tab.until(live)
            crash(url, "again")
            assert "GET /crash/at/again 500" in tab.until(f"document.querySelectorAll('li').length == 2 && {entry}")
            for number in range(110):
                crash(url, f"number-{number}")
            assert tab.until(f"{entry}.includes('number-109')")
            assert tab.run("document.querySelectorAll('li').length") == 100
            assert (tab.run("document.title"), tab.run("document.images.length")) == (title, 0)

            tab.call("Emulation.setScriptExecutionDisabled", value=True)
            tab.open(f"{url}/debug/errors")
            tab.call("Emulation.setScriptExecutionDisabled", value=False)
            text = tab.run("document.body.innerText")
            assert "Reload the page to see new ones." in text
            assert "GET /crash/at/number-109 500" in text
    asked = {request["request"]["url"].partition("?")[0] for request in tab.told("Network.requestWillBeSent")}
    assert asked - {"data:,"} == {f"{url}/debug/errors", f"{url}/debug/errors/live"}
    complaints = [entry["entry"] for entry in tab.told("Log.entryAdded") if entry["entry"]["source"] != "network"]
    assert complaints == []


def test_missing_browser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no browser, one line says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=MISSING), browser(tmp_path):
        pass
