"""Observe one crash with three tools, and draw what they show: docs/three-tools.svg."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import httpx2

from bench.readme import CORRELATION_ID
from bench.servers import ROOT, hello, running, sink

PICTURE = ROOT / "docs" / "three-tools.svg"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
SAME_TIMESTAMP = "2026-01-01T12:00:00Z"  # so that the picture changes only if what it shows does
ADDRESS = re.compile(r"address=(127\S+:[1-9]\d*)")
NO_PROMETHEUS = "prometheus is missing: apt-get install prometheus"
# In pixels.
LINE = 18
LEFT = 48
WIDTH = 900
PADDING = 14
STYLE = """
    rect { fill: #0d1117; stroke: #30363d; }
    text {
        font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
        fill: #c9d1d9;
        white-space: pre;
    }
    .title { font-weight: bold; fill: #ffffff; }
    .id { font-weight: bold; fill: #ffa657; }
    .level { font-weight: bold; fill: #ff7b72; }
    path { fill: none; stroke-width: 2; }
    path.id { stroke: #ffa657; }
    path.level { stroke: #ff7b72; }
"""
LINKS = {"level": ("CRITICAL", "CriticalError"), "id": (CORRELATION_ID,)}
Panels = dict[str, list[str]]


def until(ready: Callable[[], Any]) -> Any:
    """Return what `ready` returns as soon as that is true."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            found = ready()
            if found:
                return found
        time.sleep(0.2)
    sys.exit("the tools did not show the crash within a minute")


@contextlib.contextmanager
def prometheus(config: Path, service: str) -> Iterator[Callable[[str], Any]]:
    """Run a Prometheus that scrapes the service each second, and yield a function that queries it."""
    text = config.read_text(encoding="utf-8").replace("15s", "1s").replace("service:8000", service)
    config.write_text(text, encoding="utf-8")
    program = shutil.which("prometheus") or sys.exit(NO_PROMETHEUS)
    with tempfile.TemporaryDirectory() as data:
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={data}"]
        command.append("--web.listen-address=127.0.0.1:0")
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            address = listening_address(process.stderr)
            yield lambda path: httpx2.get(f"http://{address}/api/v1/{path}").json()["data"]
            process.terminate()


def listening_address(log: Iterable[str]) -> str:
    """Return the address that Prometheus logs when it listens."""
    for line in log:
        found = ADDRESS.search(line)
        if found:
            return found[1]
    sys.exit("prometheus ended before it listened")


@dataclass(frozen=True)
class Crash:
    """What three tools show of one crash."""

    record: dict[str, Any]
    alert: dict[str, Any]
    event: dict[str, Any]


def crash() -> Crash:
    """Crash a service, and return what the log, Prometheus and Sentry show of it."""
    with tempfile.TemporaryDirectory() as name, sink() as collector:
        folder = hello(Path(name, "service"), "-d", "observability=[prometheus, sentry]")
        env = {"LOG_FORMAT": "json", "SENTRY_DSN": f"http://key@{collector}/1"}
        config = folder / "deploy/observability/prometheus.yml"
        with (
            running("src.hello", folder, env=env) as server,
            prometheus(config, server.url.removeprefix("http://")) as query,
        ):
            until(lambda: query("query?query=errors_total")["result"])
            httpx2.get(f"{server.url}/crash", headers={"X-Request-ID": CORRELATION_ID})
            alerts = until(lambda: firing(query("alerts")["alerts"]))
            envelopes = until(lambda: httpx2.get(f"http://{collector}").json())
            log = server.output.read_text().replace(f"{folder}/", "")
    event = base64.b64decode(envelopes[0]["body"]).split(b"\n")[2]
    return Crash(record=critical_record(log), alert=alerts[0], event=json.loads(event))


def firing(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the alerts that are firing."""
    return [alert for alert in alerts if alert["state"] == "firing"]


def critical_record(log: str) -> dict[str, Any]:
    """Return the first CRITICAL record of a log in JSON."""
    records = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return next(record for record in records if record["level"] == "CRITICAL")


def as_lines(fields: dict[str, Any]) -> list[str]:
    """Return fields as lines, the first of each with its name."""
    lines = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value)
        first, *more = text.splitlines()
        lines.append(f"{name}: {TIMESTAMP.sub(SAME_TIMESTAMP, first)}")
        lines += [f"    {line}" for line in more]
    return lines


def panels() -> Panels:
    """Return what each tool shows, as lines below a title."""
    seen = crash()
    alert = {name: seen.alert[name] for name in ("labels", "annotations", "state", "activeAt")}
    return {
        "Prometheus wakes you: /api/v1/alerts": as_lines(alert),
        "The log knows the request: the one record of it": as_lines(seen.record),
        "Sentry has the same id: the one event of it": as_lines(summary(seen.event)),
    }


def summary(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a person looks at first in an event of Sentry."""
    (error,) = event["exception"]["values"]
    frame = error["stacktrace"]["frames"][-1]
    place = f"{frame['filename']}, line {frame['lineno']}, in {frame['function']}"
    return {
        "level": event["level"],
        "tags": event["tags"],
        "exception": f"{error['type']}: {error['value']}",
        "in": f"{place}: {frame['context_line'].strip()}",
    }


@dataclass
class Drawing:
    """Panels one below the other, and lines on their left between what they share."""

    bottom: int = 1
    shapes: list[str] = field(default_factory=list)
    # The heights at which panels hold what links them, by the kind of link.
    ends: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in LINKS})

    def add_panel(self, title: str, lines: list[str]) -> None:
        """Draw a panel below those that are there."""
        size = f'width="{WIDTH - LEFT - 1}" height="{LINE * (len(lines) + 1) + 2 * PADDING}"'
        self.shapes.append(f'<rect x="{LEFT}" y="{self.bottom}" {size} rx="6"/>')
        height = self.bottom + PADDING + LINE - 5
        self._add_text(height, 'class="title" ', escape(title))
        linked: set[str] = set()
        for line in lines:
            height += LINE
            self._add_text(height, "", highlight(line))
            for kind in kinds_in(line) - linked:
                self.ends[kind].append(height - 4)
                linked.add(kind)
        self.bottom = height + 5 + PADDING + LINE

    def _add_text(self, height: int, attributes: str, text: str) -> None:
        self.shapes.append(f'<text {attributes}x="{LEFT + PADDING}" y="{height}">{text}</text>')

    def add_links(self) -> None:
        """Draw a line for each kind of link, with an arm to each panel that has it."""
        for inset, (kind, heights) in enumerate(self.ends.items(), 1):
            x = LEFT - inset * PADDING
            arms = "".join(f"M{x} {height}H{LEFT}" for height in heights)
            self.shapes.append(f'<path class="{kind}" d="M{x} {heights[0]}V{heights[-1]}{arms}"/>')

    def svg(self) -> str:
        """Return the drawing as SVG."""
        height = self.bottom - LINE + 1
        size = f'xml:space="preserve" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        body = "\n".join([f"<style>{STYLE}</style>", *self.shapes])
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def highlight(line: str) -> str:
    """Return a line as SVG text, what links it to another panel in a colour."""
    text = escape(line)
    for kind, words in LINKS.items():
        for word in words:
            text = text.replace(word, f'<tspan class="{kind}">{word}</tspan>')
    return text


def kinds_in(line: str) -> set[str]:
    """Return the kinds of links that a line holds."""
    return {kind for kind, words in LINKS.items() if any(word in line for word in words)}


def draw(contents: Panels) -> str:
    """Return the panels and the links between them as SVG."""
    drawing = Drawing()
    for title, lines in contents.items():
        drawing.add_panel(title, lines)
    drawing.add_links()
    return drawing.svg()


def main() -> None:
    """Draw the picture anew."""
    PICTURE.write_text(draw(panels()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
