"""Measure what the error boundary, the log and the errors cost; write it to `docs/benchmarks.md`.

Each figure compares servers that run at the same time and are loaded in turn, so only the ratios
hold on other machines. What Airtight is compared with has the same routers, so that the ratios leave
out what FastAPI spends on them. Airtight is served as `src/main.py` does it, with all limits.
"""

import argparse
import collections
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from dev.requests import APPLICATION

from bench import in_process
from bench.in_process import App
from bench.scaling import running_stores
from bench.servers import ROOT, Run, Server, hello, render, running, sink

REPORT = ROOT / "docs" / "benchmarks.md"
QUIET = ("--no-access-log", "--log-level=warning")
PACKAGES = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "pydantic",
    "orjson",
    "asyncpg",
    "redis",
    "sqlalchemy",
    "asgi-correlation-id",
    "python-json-logger",
)
PRODUCTION = {"ENVIRONMENT": "production", "LOG_FORMAT": "json"}
ROUNDS = int(os.environ.get("ROUNDS", "7"))
SECONDS = int(os.environ.get("SECONDS", "2"))
APPLICATIONS = 1_000  # that differ; the features of most are cached when they come again
POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests = {{}}
local sent = 0

function init()
  for amount = 1, {count} do
    requests[amount] = wrk.format(nil, nil, nil, string.format([[{body}]], amount))
  end
end

function request()
  sent = sent % {count} + 1
  return requests[sent]
end
"""
BARE = "bare FastAPI with the same routers, no access log"
RECIPE = "the usual recipe"
USUAL = "the usual way"
USUAL_WAY = (
    "The usual way is [bench/usual.py](../bench/usual.py): a session of SQLAlchemy for each "
    "request, redis-py with its defaults, a middleware for the id, one that logs as JSON, and "
    "three handlers. Models, scorecard, tables, stores and the thousand applications that are sent in "
    "turn are the same; the stores share wrk's core."
)
OBSERVERS = {
    "nothing": "[]",
    "prometheus": "[prometheus]",
    "sentry": "[sentry]",
    "opentelemetry": "[opentelemetry]",
    "all three": "[prometheus, opentelemetry, sentry]",
}
A_TENTH = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
# A line of py-spy: frames from the outermost to the innermost, then how often this stack was seen.
STACK = re.compile(
    r"(?m)^(?P<outer>.*;)?(?P<name>[^;\n]+) \((?P<file>.+?)(?::\d+)?\) (?P<count>\d+)$"
)


def in_turn(
    servers: Mapping[str, Server], path: str, script: Path | None = None
) -> dict[str, list[Run]]:
    """Load servers one after the other, several times."""
    for server in servers.values():
        server.load(path, 1, script=script)
    runs: dict[str, list[Run]] = {name: [] for name in servers}
    for number in range(ROUNDS):
        backwards = number % 2 == 1
        for name in sorted(servers, reverse=backwards):
            runs[name].append(servers[name].load(path, SECONDS, script=script))
    return runs


def median(runs: list[Run], field: str) -> float:
    """Return the median of what some runs have measured."""
    return float(statistics.median(getattr(run, field) for run in runs))


def ratio(runs: list[Run], base: list[Run], field: str) -> float:
    """Return the median of the ratios of runs that came one after the other."""
    ratios = []
    for run, other in zip(runs, base, strict=True):
        ratios.append(getattr(run, field) / getattr(other, field))
    return float(statistics.median(ratios))


def table(runs: Mapping[str, list[Run]], base: str) -> list[str]:
    """Return a table of medians and of ratios to the base."""
    lines = ["| | requests/s | ratio | p50 ms | p99 ms | ratio |", "|---|---|---|---|---|---|"]
    for name, measured in runs.items():
        cells = [
            name,
            f"{median(measured, 'rate'):,.0f}",
            f"{ratio(measured, runs[base], 'rate'):.2f}",
            f"{median(measured, 'p50'):.2f}",
            f"{median(measured, 'p99'):.2f}",
            f"{ratio(measured, runs[base], 'p99'):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def price(folder: Path) -> list[str]:
    """Measure a route that does nothing, then one that crashes, then memory."""
    service = folder / "hello"
    with contextlib.ExitStack() as stack:

        def start(target: str, *options: str, **env: str) -> Server:
            server = running(target, service, *options, env=PRODUCTION | env)
            return stack.enter_context(server)

        airtight = start("src.hello")
        trivial = {
            BARE: start("bench.peers:bare_with_routers", "--factory", *QUIET),
            "Airtight": airtight,
            "Airtight, no access line": start("src.hello", LOG_LEVEL="warning"),
            "FastAPI with uvicorn's access log": start(
                "bench.peers:bare_with_routers", "--factory"
            ),
            RECIPE: start("bench.peers:recipe", "--factory", *QUIET),
            "bare FastAPI, without the routers": start("bench.peers:bare", "--factory", *QUIET),
        }
        handlers = start("bench.peers:three_handlers_with_routers", "--factory", *QUIET)
        crashes = {"three handlers, no access line": handlers, "Airtight": airtight}
        lines = ["## A route that does nothing", ""]
        lines += table(in_turn(trivial, "/"), BARE)
        lines += ["", "## A route that crashes", ""]
        lines += table(in_turn(crashes, "/crash"), "three handlers, no access line")
    return [*lines, "", "## Memory of a worker", "", *memory(service)]


def without_network(service: Path) -> list[str]:
    """Measure the same route without server and network, where less disturbs it."""
    apps = {
        BARE: App("bench.peers:bare_with_routers", service, PRODUCTION),
        "Airtight": App("src.hello:app", service, PRODUCTION),
        "Airtight, no access line": App(
            "src.hello:app", service, PRODUCTION | {"LOG_LEVEL": "warning"}
        ),
        RECIPE: App("bench.peers:recipe", service, PRODUCTION),
    }
    times = in_process.in_turn(apps)
    lines = [
        "## The same route without a network",
        "",
        in_process.METHOD,
        "",
        "| | microseconds of CPU a request | ratio |",
        "|---|---|---|",
    ]
    for name, microseconds in times.items():
        lines.append(f"| {name} | {microseconds:.1f} | {microseconds / times[BARE]:.2f} |")
    return lines


def imports(folder: Path) -> list[str]:
    """Measure what the imports of a service with both stores take."""
    lines = ["## Imports", "", "| | seconds of CPU |", "|---|---|"]
    for modules in ("src.main", "fastapi, uvicorn"):
        seconds = in_process.import_seconds(folder, modules)
        lines.append(f"| `import {modules}` | {seconds:.2f} |")
    return lines


def observers(folder: Path) -> list[str]:
    """Measure what each tool costs that observes the service, without and with a receiver."""
    services = {}
    for name, chosen in OBSERVERS.items():
        services[name] = hello(folder / name, "-d", f"observability={chosen}")
    with sink() as address, contextlib.ExitStack() as stack:

        def start(name: str, **env: str) -> Server:
            server = running("src.hello", services[name], env=PRODUCTION | env)
            return stack.enter_context(server)

        dsn = {"SENTRY_DSN": f"http://key@{address}/1"}
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}"}
        servers = {
            "nothing": start("nothing"),
            "nothing, `LOG_FORMAT=ecs`": start("nothing", LOG_FORMAT="ecs"),
            "prometheus": start("prometheus"),
            "sentry, off": start("sentry"),
            "sentry, idle": start("sentry", **dsn),
            "opentelemetry, off": start("opentelemetry"),
            "opentelemetry, a tenth": start("opentelemetry", **collector, **A_TENTH),
            "opentelemetry, each request": start("opentelemetry", **collector),
            "all three, off": start("all three"),
            "all three": start("all three", **dsn, **collector),
        }
        return ["## What observes the service", "", *table(in_turn(servers, "/"), "nothing")]


def memory(service: Path) -> list[str]:
    """Measure what a worker holds after few and after many requests."""
    lines = ["| requests | MB |", "|---|---|"]
    with running("src.hello", service, env=PRODUCTION) as server:
        for wanted in (10_000, 200_000):
            served = server.access_lines()
            while served < wanted:
                seconds = (wanted - served) // 20_000
                server.load("/", max(1, min(5, seconds)))
                served = server.access_lines()
            lines.append(f"| {served:,} | {server.memory():.1f} |")
    return lines


def decisions(folder: Path) -> list[str]:
    """Measure `POST /decisions` on real stores, and find where its time goes."""
    script = folder / "post.lua"
    body = json.dumps(APPLICATION | {"amount": "%d"}).replace('"%d"', "%d")
    script.write_text(POST.format(body=body, count=APPLICATIONS))
    stacks = folder / "stacks.txt"
    with running_stores(folder) as opened, contextlib.ExitStack() as stack:

        def start(target: str, *options: str) -> Server:
            server = running(target, folder, *options, env=PRODUCTION | opened.urls)
            return stack.enter_context(server)

        airtight = start("src.main")
        servers = {
            USUAL: start("bench.usual:build", "--factory", *QUIET),
            "Airtight": airtight,
        }
        runs = in_turn(servers, "/decisions", script)
        with sampling(airtight, stacks):
            airtight.load("/decisions", 10, script=script)
    failed = sum(run.bad for measured in runs.values() for run in measured)
    return [
        "## `POST /decisions` on PostgreSQL and Redis",
        "",
        USUAL_WAY,
        "",
        *table(runs, USUAL),
        "",
        f"{failed} responses other than 201.",
        "",
        "| where Airtight's time goes | share |",
        "|---|---|",
        *hottest(stacks.read_text()),
    ]


@contextlib.contextmanager
def sampling(server: Server, output: Path) -> Iterator[None]:
    """Write the stacks of a server to a file, 500 times a second, for 8 seconds."""
    command = ["py-spy", "record", "--format=raw", "--rate=500", "--duration=8"]
    command += [f"--output={output}", f"--pid={server.process.pid}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


def hottest(stacks: str, count: int = 5) -> list[str]:
    """Return the places in which a sampled process spent most of its time."""
    places: collections.Counter[str] = collections.Counter()
    for stack in STACK.finditer(stacks):
        if stack["outer"]:
            file = Path(stack["file"])
            places[f"`{stack['name']}` in {file.parent.name}/{file.name}"] += int(stack["count"])
    lines = []
    for place, samples in places.most_common(count):
        lines.append(f"| {place} | {samples / places.total():.0%} |")
    return lines


def heading() -> list[str]:
    """Return what the report says about itself: how it came to be, and with which versions."""
    about = (__doc__ or "").split("\n\n")[1]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    setup = [
        f"Python {platform.python_version()}, {versions};",
        "uvicorn with one worker on a core of its own,",
        "wrk on another with 16 connections;",
        f"medians of {ROUNDS} rounds of {SECONDS} s.",
    ]
    written = f"Written by `nox -s bench`. {' '.join(about.split())}"
    return ["# Benchmarks", "", written, "", " ".join(setup), ""]


def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hello(folder / "hello")
        service = render(folder / "decisions")
        lines = [
            *price(folder),
            "",
            *without_network(folder / "hello"),
            "",
            *observers(folder),
            "",
            *decisions(service),
            "",
            *imports(service),
        ]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join([*heading(), *lines, ""]), encoding="utf-8")
    print(REPORT.read_text())


if __name__ == "__main__":
    main()
