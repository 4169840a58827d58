"""The tools that observe a rendered service understand what it exposes, and show what fails."""

import functools
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.browser import MISSING, Tab, browser
from tests.support.observers import (
    Notification,
    Tools,
    amtool,
    expressions,
    get,
    listening_webhook,
    load,
    metrics_in,
    metrics_on,
    own_metrics,
    promtool,
    read,
    running,
    serve_command,
    until,
)
from tests.support.services import free_port
from tests.support.template import Answers, Render

OBSERVED: dict[str, Answers] = {
    "default": {},
    "orders": {"example": "orders"},
    "skeleton": {"example": "none", "stores": []},
    "reserved-word": {"example": "none", "stores": ["redis"], "project_slug": "null"},
}
OF_PROMETHEUS = {"instance", "job"}  # the labels that it adds
NO_STORES = {
    "REDIS_URL": "redis://127.0.0.1:1",
    "DATABASE_URL": "postgresql://127.0.0.1:1/x",
}


@pytest.mark.parametrize("answers", OBSERVED.values(), ids=OBSERVED)
def test_alerts_come_when_they_should(render: Render, answers: Answers) -> None:
    """Rules and configurations are valid, and the rules' own tests pass."""
    folder = render(**answers)
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool(folder, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout, done.stdout + done.stderr
    amtool(folder, "check-config", "alertmanager.yml")


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
    """A rule that is changed fails its tests."""
    folder = render(example="orders")
    rules = folder / "deploy/observability/alerts.yml"
    text = rules.read_text(encoding="utf-8")
    assert right in text
    rules.write_text(text.replace(right, wrong), encoding="utf-8")
    assert promtool(folder, "test", "rules", "alerts_test.yml").returncode == 1


NUMBERS: dict[str, Answers] = {
    "orders": {"example": "orders"},
    "skeleton": {"example": "none", "stores": []},
}


@pytest.mark.parametrize("answers", NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_are_named_exist(render: Render, answers: Answers) -> None:
    """The running service has each metric and label in rules and dashboard; the README names all."""
    folder = render(**answers)
    page = metrics_page(folder, with_worker=answers["example"] == "orders")
    there = metrics_on(page)
    there["up"] = set()  # Prometheus's own
    questions = list(expressions(folder))
    assert len(questions) > len(answers)
    for question in questions:
        metrics = metrics_in(question)
        assert metrics, question
        for name, labels in metrics.items():
            assert name in there, question
            assert labels <= there[name] | OF_PROMETHEUS, question
    assert metrics_in_readme(folder) == own_metrics(page)


def metrics_page(folder: Path, *, with_worker: bool) -> str:
    """Run a service, send a request, and return the metrics of all its processes."""
    port = free_port()
    worker_port = free_port()
    commands = [serve_command("main", port)]
    urls = [f"http://127.0.0.1:{port}/metrics"]
    if with_worker:
        commands.append([sys.executable, "-m", "src.worker"])
        urls.append(f"http://127.0.0.1:{worker_port}/metrics")
    urls.append(urls[0])  # where the first reading of the page is counted now
    with running(folder, *commands, WORKER_METRICS_PORT=str(worker_port), **NO_STORES):
        return "".join(until(functools.partial(read, url)) for url in urls)


def metrics_in_readme(folder: Path) -> dict[str, set[str]]:
    """Return the metrics in the table of the README, with their labels."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| number | labels |")[2].partition("\n\n")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \|([^|]*)\|", table)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_crash_under_load_becomes_an_alert(render: Render, tmp_path: Path) -> None:
    """One crash fires in a real Prometheus, whose Alertmanager notifies; no other request fails."""
    folder = render(example="none", stores=["redis"])
    add_faulty_routes(folder)
    token = tmp_path / "token"
    token.write_text("hunter2", encoding="utf-8")
    with listening_webhook() as webhook:
        tools = Tools(folder, tmp_path, webhook.url, token)
        tools.configure()
        commands = [serve_command("faulty", tools.service_port), *tools.commands()]
        redis_url = f"redis://127.0.0.1:{free_port()}/0"  # where no Redis listens
        with running(folder, *commands, REDIS_URL=redis_url):
            until(lambda: read(f"{tools.service}/health/live"))
            with load(tools.service_port) as statuses:
                until(tools.has_errors)
                assert "CriticalError" not in tools.alerts("firing")
                before = len(statuses)
                crash(f"{tools.service}/crash/async")
                alert = until(lambda: tools.alerts("firing").get("CriticalError"))
                notifications = until(lambda: webhook.notifications)
                until(lambda: "StoreAway" in tools.alerts("pending"))
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
    check_notification(notifications[0], alert)


def check_notification(notification: Notification, alert: Answers) -> None:
    """The webhook gets the token from its file, and the alert as Prometheus shows it."""
    assert notification.authorization == "Bearer hunter2"
    assert notification.body["receiver"] == "webhook"
    assert notification.body["status"] == "firing"
    [sent] = notification.body["alerts"]
    assert sent["labels"] == alert["labels"]
    assert sent["annotations"] == alert["annotations"]


def add_faulty_routes(folder: Path) -> None:
    """Add the module with routes that fail, which the service's own tests have, to the service."""
    shutil.copy(folder / "tests/support/faulty.py", folder / "src")


def crash(url: str) -> None:
    """Request a route that fails."""
    with pytest.raises(OSError, match="500"):
        get(url)


EVIL = (
    "<script>document.title='ran'</script>"
    "<img src=//elsewhere.example onerror=document.title='ran'>"
)
ENTRY = "document.querySelector('li:first-child')?.innerText"
ENTRIES = "document.querySelectorAll('li').length"
STATE = "document.querySelector('output').innerText"
BODY = "document.body.innerText"


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
    """An open page shows what fails, before and after a restart, and all of it as mere text."""
    folder = render(**answers)
    add_faulty_routes(folder)
    port = free_port()
    with browser(tmp_path / "profile") as tab:
        with served(folder, port) as url:
            tab.open(f"{url}/debug/errors")
            title = tab.run("document.title")
            check_first_failure(tab, url)
        assert tab.until(f"{STATE} == 'waiting for the service'")
        with served(folder, port) as url:
            check_after_restart(tab, url)
            assert tab.run("document.title") == title
            check_without_javascript(tab, url)
    requests = [params["request"]["url"] for params in tab.params("Network.requestWillBeSent")]
    requested = {request.partition("?")[0] for request in requests}
    assert requested - {"data:,"} == {f"{url}/debug/errors", f"{url}/debug/errors/live"}
    entries = [params["entry"] for params in tab.params("Log.entryAdded")]
    assert [entry for entry in entries if entry["source"] != "network"] == []


@contextmanager
def served(folder: Path, port: int) -> Iterator[str]:
    """Run a service with faulty routes until the end of the block; yield its URL."""
    url = f"http://127.0.0.1:{port}"
    with running(folder, serve_command("faulty", port)):
        until(lambda: get(f"{url}/health/live"))
        yield url


def crash_with(url: str, text: str) -> None:
    """Request a route that fails with a text."""
    crash(f"{url}/crash/at/{quote(text)}")


def check_first_failure(tab: Tab, url: str) -> None:
    """A failure appears at once on a page that was empty, and opens to its traceback."""
    assert "Nothing here yet" in tab.run(BODY)
    assert tab.until(f"{STATE} == 'live'")
    crash_with(url, EVIL)
    assert f"LookupError\nGET /crash/at/{EVIL} 500" in tab.until(ENTRY)
    tab.run("document.querySelector('summary').click()")
    assert f"\nLookupError: {EVIL}\n" in tab.run(ENTRY)


def check_after_restart(tab: Tab, url: str) -> None:
    """The page connects again by itself, and shows the last 100 failures and nothing that they name."""
    assert tab.until(f"{STATE} == 'live'")
    crash_with(url, "again")
    assert "GET /crash/at/again 500" in tab.until(f"{ENTRIES} == 2 && {ENTRY}")
    for number in range(110):
        crash_with(url, f"number-{number}")
    assert tab.until(f"{ENTRY}.includes('number-109')")
    assert tab.run(ENTRIES) == 100
    assert tab.run("document.images.length") == 0


def check_without_javascript(tab: Tab, url: str) -> None:
    """Without JavaScript the page shows the failures so far, and says how to see new ones."""
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(f"{url}/debug/errors")
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    text = tab.run(BODY)
    assert "Reload the page to see new ones." in text
    assert "GET /crash/at/number-109 500" in text


def test_missing_browser_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no browser, one line says what to install."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=MISSING), browser(tmp_path):
        pass
