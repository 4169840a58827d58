"""What a rendered service tells is understood by the tools that listen to it."""

import contextlib
import functools
import http.client
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest
import yaml

from tests.support.browser import MISSING, browser
from tests.support.services import free_port, wait_until
from tests.support.template import Answers, Render

OBSERVED: dict[str, Answers] = {
    "default": {},
    "orders": {"example": "orders"},
    "skeleton": {"example": "none", "stores": []},
    "reserved-word": {"example": "none", "stores": ["redis"], "project_slug": "null"},
}

RULES, DASHBOARD = (
    Path("deploy/observability/alerts.yml"),
    Path("deploy/observability/grafana/dashboards/service.json"),
)
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)")
SELECTED = re.compile(r"([a-zA-Z_:][\w:]*)(?: *\{([^}]*)\})?(?![\w:]* *\()")
WORDS = {"and", "or", "unless", "bool", "offset"}
OF_PROMETHEUS = {"up": {"instance", "job"}}


def program(name: str) -> str:
    """Return the path of one of the programs of Prometheus and its Alertmanager."""
    missing = (
        f"{name} is not on PATH; `apt-get install prometheus prometheus-alertmanager` brings it"
    )
    return shutil.which(name) or pytest.fail(missing)


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool where the rules are."""
    command = [program("promtool"), *arguments]
    return subprocess.run(
        command, cwd=folder / "deploy/observability", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("answers", OBSERVED.values(), ids=OBSERVED)
def test_alerts_come_when_they_should(render: Render, answers: Answers) -> None:
    """Rules and configurations are valid, and the rules' own tests pass."""
    folder = render(**answers)
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool(folder, *command)
        assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stdout + done.stderr
    subprocess.run(
        [program("amtool"), "check-config", "alertmanager.yml"],
        cwd=folder / RULES.parent,
        check=True,
    )


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
        ("absent(", "0 * ("),
        ('worker_lag_seconds{job="my-service"}', "worker_lag_seconds"),
        ("for: 2m", "for: 0m"),
        ("> 120", "> 60"),
        ("> 120", "> 180"),
        ("max by (job) (worker_lag", "min by (job) (worker_lag"),
        ("(dead_letters{", "(dead_letters_total{"),
        ("max by (job) (dead_letters", "sum by (job) (dead_letters"),
    ],
)
def test_alerts_that_are_wrong_fail_their_tests(render: Render, right: str, wrong: str) -> None:
    """Whoever breaks a rule is told by its tests."""
    folder = render(example="orders")
    rules = folder / "deploy/observability/alerts.yml"
    text = rules.read_text(encoding="utf-8")
    assert right in text
    rules.write_text(text.replace(right, wrong), encoding="utf-8")
    assert promtool(folder, "test", "rules", "alerts_test.yml").returncode == 1


def read(url: str) -> str:
    """Return what a URL answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read(), "utf-8")


def get(url: str) -> Any:
    """Return the JSON that a URL answers."""
    return json.loads(read(url))


def until(ready: Callable[[], Any]) -> Any:
    """Return what `ready` returns as soon as that is something; whom it asks may not be there yet."""

    def found() -> Any:
        with contextlib.suppress(OSError):
            return ready()

    return wait_until(found)


@contextlib.contextmanager
def running(folder: Path, *commands: list[str], **env: str) -> Iterator[None]:
    """Run processes until the end of the block."""
    started = [
        subprocess.Popen(
            c,
            cwd=folder,
            env=os.environ | env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for c in commands
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=30)


def command_of(module: str, address: str) -> list[str]:
    """Return the command that serves an application of the rendered service."""
    return [
        sys.executable,
        "-m",
        "uvicorn",
        f"src.{module}:app",
        "--port",
        address.rpartition(":")[2],
    ]


def expressions(folder: Path) -> Iterator[str]:
    """Yield what is asked of Prometheus in the rules and in the dashboard."""
    for group in yaml.safe_load((folder / RULES).read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads((folder / DASHBOARD).read_text(encoding="utf-8"))["panels"]:
        if panel["datasource"]["type"] == "prometheus":
            yield from (target["expr"] for target in panel["targets"])


def asked(expression: str) -> dict[str, set[str]]:
    """Return the names of numbers in an expression, each with the labels by which it is chosen or grouped."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    groups = {label.strip() for labels in GROUPING.findall(text) for label in labels.split(",")} - {
        ""
    }
    text = re.sub(r"\[[^\]]*\]", "", GROUPING.sub("", text))
    found: dict[str, set[str]] = {}
    for name, chosen in SELECTED.findall(text):
        found.setdefault(name, set(groups)).update(re.findall(r"(\w+) *[=!]", chosen))
    return {name: labels for name, labels in found.items() if name not in WORDS}


def told(page: str) -> dict[str, set[str]]:
    """Return the names of numbers on a page for Prometheus, each with its labels and those that Prometheus adds."""
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"(?m)^(\w+)(\{.*\})? \S+$", page):
        found.setdefault(name, {"instance", "job"}).update(re.findall(r'(\w+)="', labels))
    return found


NUMBERS: dict[str, Answers] = {
    "orders": {"example": "orders"},
    "skeleton": {"example": "none", "stores": []},
}


@pytest.mark.parametrize("answers", NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_are_named_exist(render: Render, answers: Answers) -> None:
    """Names and labels in rules, dashboard and README are on the page of the running service; README names all."""
    folder, ports = render(**answers), [free_port(), free_port()]
    commands = [command_of("main", f":{ports[0]}")]
    if answers["example"] == "orders":
        commands.append([sys.executable, "-m", "src.worker"])
    env = {"REDIS_URL": "redis://127.0.0.1:1", "DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    with running(folder, *commands, WORKER_METRICS_PORT=str(ports[1]), **env):
        urls = [f"http://127.0.0.1:{port}/metrics" for port in ports[: len(commands)]]
        pages = [
            until(functools.partial(read, url)) for url in [*urls, urls[0]]
        ]  # the last one has the first request
    page = "".join(pages)
    there = told(page) | OF_PROMETHEUS
    questions = list(expressions(folder))
    assert len(questions) > len(answers)
    for question in questions:
        named = asked(question)
        assert named, question
        for name, labels in named.items():
            assert labels <= there.get(name, set()), question
    table = (
        (folder / "README.md")
        .read_text(encoding="utf-8")
        .partition("| number | labels |")[2]
        .partition("\n\n")[0]
    )
    rows = re.findall(r"(?m)^\| `(\w+)` \|([^|]*)\|", table)
    readme = {name: {*re.findall(r"`(\w+)`", labels)} for name, labels in rows}
    ours = {
        name: labels
        for name, labels in told(page).items()
        if not name.startswith(("python_", "process_"))
    }
    ours = {
        re.sub("_(bucket|count|sum)$", "", name): labels - {"instance", "job", "le"}
        for name, labels in ours.items()
    }
    assert readme == {
        name: labels for name, labels in ours.items() if not name.endswith("_created")
    }


class Webhook(http.server.BaseHTTPRequestHandler):
    """Keeps what Alertmanager sends."""

    kept: ClassVar[list[tuple[str | None, dict[str, Any]]]]

    def do_POST(self) -> None:
        """Keep a notification."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.kept.append((self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def webhook() -> Iterator[tuple[str, list[tuple[str | None, dict[str, Any]]]]]:
    """Yield the URL of a webhook and what it was sent."""
    Webhook.kept = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Webhook.kept
        server.shutdown()


@contextlib.contextmanager
def load(address: str) -> Iterator[list[int]]:
    """Send one request after the other until the end of the block, and note how each was answered."""
    statuses, stop = list[int](), threading.Event()

    def send() -> None:
        with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
            while not stop.is_set():
                connection.request("GET", "/slow?seconds=0")
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)

    with ThreadPoolExecutor() as threads:
        sending = threads.submit(send)
        try:
            yield statuses
        finally:
            stop.set()
        sending.result()  # raises what has kept a request from being answered


def test_crash_under_load_becomes_an_alert(render: Render, tmp_path: Path) -> None:
    """One crash fires in a real Prometheus, whose Alertmanager tells, and all requests meanwhile are served."""
    folder = render(example="none", stores=["redis"])
    shutil.copy(folder / "tests/support/faulty.py", folder / "src")
    service, prometheus, alertmanager = (f"127.0.0.1:{free_port()}" for _ in range(3))
    token = tmp_path / "token"
    token.write_text("hunter2", encoding="utf-8")
    configs = folder / "deploy/observability"
    with webhook() as (url, notified):
        for name, changes in {
            "prometheus.yml": {
                "15s": "1s",
                "service:8000": service,
                "[] #": f"['{alertmanager}'] #",
            },
            "alertmanager.yml": {
                "https://hooks.example.com/alerts": url,
                "/run/secrets/webhook_token": str(token),
            },
        }.items():
            text = (configs / name).read_text(encoding="utf-8")
            for right, here in changes.items():
                assert right in text
                text = text.replace(right, here)
            (configs / name).write_text(text, encoding="utf-8")
        commands = [
            [
                program("prometheus"),
                f"--config.file={configs}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/data",
            ],
            [program("prometheus-alertmanager"), f"--config.file={configs}/alertmanager.yml"],
        ]
        commands[0] += [f"--web.listen-address={prometheus}"]
        commands[1] += [
            f"--web.listen-address={alertmanager}",
            f"--storage.path={tmp_path}",
            "--cluster.listen-address=",
        ]
        env = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
        with running(folder, command_of("faulty", service), *commands, **env):
            until(lambda: read(f"http://{service}/health/live"))
            with load(service) as statuses:
                counted = f"http://{prometheus}/api/v1/query?query=errors_total"
                until(lambda: get(counted)["data"]["result"])
                assert "CriticalError" not in firing(prometheus)
                before = len(statuses)
                with pytest.raises(OSError, match="500"):
                    get(f"http://{service}/crash/async")
                alert = until(lambda: firing(prometheus).get("CriticalError"))
                authorization, told = until(lambda: notified[0] if notified else None)
                until(lambda: "StoreAway" in pending(prometheus))
                until(lambda: len(statuses) > before)
    assert set(statuses) == {200}
    assert alert["labels"] == {
        "alertname": "CriticalError",
        "error": "unexpected",
        "job": "my-service",
        "severity": "page",
    }
    assert alert["annotations"] == {
        "summary": "my-service: something unexpected went wrong",
        "runbook": "README.md, CriticalError",
    }
    assert "| `CriticalError` |" in (folder / "README.md").read_text(encoding="utf-8")
    assert (authorization, told["receiver"], told["status"]) == (
        "Bearer hunter2",
        "webhook",
        "firing",
    )
    assert [(a["labels"], a["annotations"]) for a in told["alerts"]] == [
        (alert["labels"], alert["annotations"])
    ]


def firing(prometheus: str) -> dict[str, Any]:
    """Return the alerts that fire, by name."""
    alerts = get(f"http://{prometheus}/api/v1/alerts")["data"]["alerts"]
    return {a["labels"]["alertname"]: a for a in alerts if a["state"] == "firing"}


def pending(prometheus: str) -> set[str]:
    """Return the names of the alerts that are about to fire."""
    alerts = get(f"http://{prometheus}/api/v1/alerts")["data"]["alerts"]
    return {a["labels"]["alertname"] for a in alerts if a["state"] == "pending"}


@contextlib.contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """Run a service that has routes which go wrong, until the end of the block, at which it stops by itself."""
    shutil.copy(folder / "tests/support/faulty.py", folder / "src")
    url = f"http://127.0.0.1:{port}"
    with running(folder, command_of("faulty", url)):
        until(lambda: get(f"{url}/health/live"))
        yield url


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
def test_failures_appear_live_in_a_browser(
    render: Render, tmp_path: Path, answers: Answers
) -> None:
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
            assert "GET /crash/at/again 500" in tab.until(
                f"document.querySelectorAll('li').length == 2 && {entry}"
            )
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
    asked = {
        request["request"]["url"].partition("?")[0]
        for request in tab.told("Network.requestWillBeSent")
    }
    assert asked - {"data:,"} == {f"{url}/debug/errors", f"{url}/debug/errors/live"}
    complaints = [
        entry["entry"]
        for entry in tab.told("Log.entryAdded")
        if entry["entry"]["source"] != "network"
    ]
    assert complaints == []


def test_missing_browser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no browser, one line says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=MISSING), browser(tmp_path):
        pass
