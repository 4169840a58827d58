"""Let three tools tell of one crash, and draw what they say: docs/three-tools.svg."""

import base64
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import httpx2

from bench.readme import CORRELATION_ID
from bench.servers import ROOT, hello, running, sink

PICTURE = ROOT / "docs" / "three-tools.svg"
TIME, MOMENT = (
    re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"),
    "2026-01-01T12:00:00Z",
)  # which differs from run to run
LINE, LEFT, WIDTH, PADDING = 18, 48, 900, 14
STYLE = """
    rect { fill: #0d1117; stroke: #30363d; }
    text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #c9d1d9; white-space: pre; }
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
    """Return what `ready` returns as soon as that is something."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            if found := ready():
                return found
        time.sleep(0.2)
    sys.exit("it did not happen within a minute")


@contextlib.contextmanager
def prometheus(config: Path, service: str) -> Iterator[Callable[[str], Any]]:
    """Run a Prometheus that reads the service each second, and yield what asks it."""
    text = config.read_text(encoding="utf-8").replace("15s", "1s").replace("service:8000", service)
    config.write_text(text, encoding="utf-8")
    program = shutil.which("prometheus") or sys.exit(
        "prometheus is missing: apt-get install prometheus"
    )
    with tempfile.TemporaryDirectory() as data:
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            "--web.listen-address=127.0.0.1:0",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            address = next(
                found[1]
                for line in process.stderr
                if (found := re.search(r"address=(127\S+:[1-9]\d*)", line))
            )
            yield lambda path: httpx2.get(f"http://{address}/api/v1/{path}").json()["data"]
            process.terminate()


def crash() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the record, the alert and the event of one crash."""
    with tempfile.TemporaryDirectory() as name, sink() as collector:
        folder = hello(Path(name, "service"), "-d", "observability=[prometheus, sentry]")
        env = {"LOG_FORMAT": "json", "SENTRY_DSN": f"http://key@{collector}/1"}
        config = folder / "deploy/observability/prometheus.yml"
        with (
            running("src.hello:app", folder, env=env) as server,
            prometheus(config, server.url.removeprefix("http://")) as ask,
        ):
            until(lambda: ask("query?query=errors_total")["result"])
            httpx2.get(f"{server.url}/crash", headers={"X-Request-ID": CORRELATION_ID})
            alert = until(lambda: [a for a in ask("alerts")["alerts"] if a["state"] == "firing"])[0]
            envelope = until(lambda: httpx2.get(f"http://{collector}").json())[0]
            lines = server.output.read_text().replace(f"{folder}/", "").splitlines()
            records = [json.loads(line) for line in lines if line.startswith("{")]
    event = json.loads(base64.b64decode(envelope["body"]).split(b"\n")[2])
    return next(r for r in records if r["level"] == "CRITICAL"), alert, event


def shown(facts: dict[str, Any]) -> list[str]:
    """Return facts as lines, each beginning with the name of one."""
    lines = []
    for name, fact in facts.items():
        first, *more = (fact if isinstance(fact, str) else json.dumps(fact)).splitlines()
        lines += [f"{name}: {TIME.sub(MOMENT, first)}", *(f"    {line}" for line in more)]
    return lines


def panels() -> Panels:
    """Return what each tool says, as lines below a title."""
    record, alert, event = crash()
    (error,) = event["exception"]["values"]
    frame = error["stacktrace"]["frames"][-1]
    event = {name: event[name] for name in ("level", "tags")}
    event |= {"exception": f"{error['type']}: {error['value']}"}
    event |= {
        "in": f"{frame['filename']}, line {frame['lineno']}, in {frame['function']}: {frame['context_line'].strip()}"
    }
    return {
        "Prometheus wakes you: /api/v1/alerts": shown(
            {name: alert[name] for name in ("labels", "annotations", "state", "activeAt")}
        ),
        "The log knows the request: the one record of it": shown(record),
        "Sentry has the same id: the one event of it": shown(event),
    }


def marked(line: str) -> str:
    """Return a line as SVG text, what links it to another panel in a colour."""
    text = escape(line)
    for kind, words in LINKS.items():
        for word in words:
            text = text.replace(word, f'<tspan class="{kind}">{word}</tspan>')
    return text


def draw(said: Panels) -> str:
    """Return the panels one below the other, and lines on their left between what they share."""
    y, shapes = 1, []
    ends: dict[str, list[int]] = {kind: [] for kind in LINKS}
    for title, lines in said.items():
        height = LINE * (len(lines) + 1) + 2 * PADDING
        shapes.append(
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH - LEFT - 1}" height="{height}" rx="6"/>'
        )
        base = y + PADDING + LINE - 5
        shapes.append(f'<text class="title" x="{LEFT + PADDING}" y="{base}">{escape(title)}</text>')
        for number, line in enumerate(lines, 1):
            shapes.append(
                f'<text x="{LEFT + PADDING}" y="{base + number * LINE}">{marked(line)}</text>'
            )
        for kind, words in LINKS.items():
            found = [
                number
                for number, line in enumerate(lines, 1)
                if any(word in line for word in words)
            ]
            ends[kind] += [base + number * LINE - 4 for number in found[:1]]
        y += height + LINE
    for inset, (kind, heights) in enumerate(ends.items(), 1):
        x = LEFT - inset * PADDING
        hooks = "".join(f"M{x} {height}H{LEFT}" for height in heights)
        shapes.append(f'<path class="{kind}" d="M{x} {heights[0]}V{heights[-1]}{hooks}"/>')
    size = f'xml:space="preserve" viewBox="0 0 {WIDTH} {y - LINE + 1}" width="{WIDTH}"'
    body = "\n".join([f"<style>{STYLE}</style>", *shapes])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def main() -> None:
    """Draw the picture anew."""
    PICTURE.write_text(draw(panels()), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
