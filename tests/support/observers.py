"""Prometheus, its Alertmanager and a webhook, and what they are asked and sent."""

import contextlib
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.services import free_port, wait_until

Labels = dict[str, set[str]]  # the names of labels by the name of their metric

CONFIGURATION = Path("deploy/observability")
RULES = CONFIGURATION / "alerts.yml"
DASHBOARD = CONFIGURATION / "grafana/dashboards/service.json"

# Parts of PromQL.
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
RANGE = re.compile(r"\[[^\]]*\]")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) *\(([^)]*)\)")
SELECTED = re.compile(r"([a-zA-Z_:][\w:]*)(?: *\{([^}]*)\})?(?![\w:]* *\()")
WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "offset",
}


def program(name: str) -> str:
    """Return the path of one of the programs of Prometheus and its Alertmanager."""
    path = shutil.which(name)
    if path is None:
        packages = "prometheus prometheus-alertmanager"
        pytest.fail(f"{name} is not on PATH; `apt-get install {packages}` brings it")
    return path


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run promtool where the rules are."""
    return subprocess.run(
        [program("promtool"), *arguments],
        cwd=folder / CONFIGURATION,
        capture_output=True,
        text=True,
        check=False,
    )


def amtool(folder: Path, *arguments: str) -> None:
    """Run amtool where the rules are; fail the test if it fails."""
    subprocess.run([program("amtool"), *arguments], cwd=folder / CONFIGURATION, check=True)


def read(url: str) -> str:
    """Return the body of the response of a URL."""
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read(), "utf-8")


def get(url: str) -> Any:
    """Return the JSON that a URL responds."""
    return json.loads(read(url))


def until(condition: Callable[[], Any]) -> Any:
    """Return the result of `condition` as soon as it is true; servers may not listen yet."""

    def result() -> Any:
        with contextlib.suppress(OSError):
            return condition()

    return wait_until(result)


@contextlib.contextmanager
def running(folder: Path, *commands: list[str], **env: str) -> Iterator[None]:
    """Run processes until the end of the block."""

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    started = [start(command) for command in commands]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait(timeout=30)


def serve_command(module: str, port: int) -> list[str]:
    """Return the command that serves an app of the rendered service."""
    return [sys.executable, "-m", "uvicorn", f"src.{module}:app", f"--port={port}"]


# Metrics that are asked for, and metrics that there are.


def expressions(folder: Path) -> Iterator[str]:
    """Yield the expressions of PromQL in the rules and in the dashboard."""
    rules = yaml.safe_load((folder / RULES).read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    dashboard = json.loads((folder / DASHBOARD).read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        if panel["datasource"]["type"] == "prometheus":
            for target in panel["targets"]:
                yield target["expr"]


def metrics_in(expression: str) -> Labels:
    """Return the metrics in an expression, with the labels by which they are chosen or grouped."""
    text = STRING.sub('""', expression)
    groups = set(re.findall(r"\w+", ",".join(GROUPING.findall(text))))
    text = RANGE.sub("", GROUPING.sub("", text))
    found: Labels = {}
    for name, matchers in SELECTED.findall(text):
        if name not in WORDS:
            labels = found.setdefault(name, set(groups))
            labels.update(re.findall(r"(\w+) *[=!]", matchers))
    return found


def metrics_on(page: str) -> Labels:
    """Return the metrics on a page for Prometheus, with their labels."""
    found: Labels = {}
    for name, labels in re.findall(r"(?m)^(\w+)(\{.*\})? \S+$", page):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


def own_metrics(page: str) -> Labels:
    """Return the metrics on a page that the service defines, under the names that it gives them."""
    found: Labels = {}
    for name, labels in metrics_on(page).items():
        if name.startswith(("python_", "process_")) or name.endswith("_created"):
            continue
        found[re.sub("_(bucket|count|sum)$", "", name)] = labels - {"le"}
    return found


# Alerts on their way.


@dataclass
class Tools:
    """A service, and the Prometheus and the Alertmanager that watch it.

    Args:
        folder: the folder of the rendered service.
        data: an empty folder for what the tools store.
        webhook: the URL to which alerts are sent.
        token: a file with the token that is sent with them.
    """

    folder: Path
    data: Path
    webhook: str
    token: Path
    service_port: int = field(default_factory=free_port)
    prometheus_port: int = field(default_factory=free_port)
    alertmanager_port: int = field(default_factory=free_port)

    @property
    def service(self) -> str:
        """The URL of the service."""
        return f"http://127.0.0.1:{self.service_port}"

    @property
    def prometheus(self) -> str:
        """The URL of the API of Prometheus."""
        return f"http://127.0.0.1:{self.prometheus_port}/api/v1"

    def configure(self) -> None:
        """Replace addresses and intervals in the configurations by those of this test."""
        self._replace("prometheus.yml", "15s", "1s")
        self._replace("prometheus.yml", "service:8000", f"127.0.0.1:{self.service_port}")
        self._replace("prometheus.yml", "[] #", f"['127.0.0.1:{self.alertmanager_port}'] #")
        self._replace("alertmanager.yml", "https://hooks.example.com/alerts", self.webhook)
        self._replace("alertmanager.yml", "/run/secrets/webhook_token", str(self.token))

    def _replace(self, name: str, old: str, new: str) -> None:
        file = self.folder / CONFIGURATION / name
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def commands(self) -> list[list[str]]:
        """Return the commands that run the tools."""
        prometheus = [
            program("prometheus"),
            f"--config.file={CONFIGURATION}/prometheus.yml",
            f"--storage.tsdb.path={self.data}/data",
            f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
        ]
        alertmanager = [
            program("prometheus-alertmanager"),
            f"--config.file={CONFIGURATION}/alertmanager.yml",
            f"--storage.path={self.data}",
            f"--web.listen-address=127.0.0.1:{self.alertmanager_port}",
            "--cluster.listen-address=",
        ]
        return [prometheus, alertmanager]

    def has_errors(self) -> bool:
        """Return whether Prometheus has read how many errors there were."""
        result = get(f"{self.prometheus}/query?query=errors_total")["data"]["result"]
        return bool(result)

    def alerts(self, state: str) -> dict[str, Any]:
        """Return the alerts in a state, by name."""
        alerts = get(f"{self.prometheus}/alerts")["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == state}


@dataclass(frozen=True)
class Notification:
    """What Alertmanager has sent to the webhook."""

    authorization: str | None
    body: dict[str, Any]


@dataclass
class Webhook:
    """A server that stores what it is sent."""

    url: str
    notifications: list[Notification] = field(default_factory=list)


@contextlib.contextmanager
def listening_webhook() -> Iterator[Webhook]:
    """Run a webhook until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            authorization = self.headers["Authorization"]
            webhook.notifications.append(Notification(authorization, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        webhook = Webhook(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield webhook
        server.shutdown()


@contextlib.contextmanager
def load(port: int) -> Iterator[list[int]]:
    """Send one request after the other until the end of the block; yield the list of statuses."""
    statuses: list[int] = []
    stop = threading.Event()

    def send() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            while not stop.is_set():
                connection.request("GET", "/slow?seconds=0")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)

    with ThreadPoolExecutor() as threads:
        sending = threads.submit(send)
        try:
            yield statuses
        finally:
            stop.set()
        sending.result()  # raises what ended the requests early
