"""Measure what the guard, the log and the errors cost, and write it to `docs/benchmarks.md`.

Each figure compares servers that run at the same time and are asked in turn; only the ratios mean something elsewhere.
"""

import collections
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from dev import stores
from dev.tasks import APPLICATION

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
    "asgi-correlation-id",
)
PRODUCTION = {"ENVIRONMENT": "production", "LOG_FORMAT": "json"}
ROUNDS, SECONDS = int(os.environ.get("ROUNDS", "9")), int(os.environ.get("SECONDS", "2"))
POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{body}]]
"""


def in_turn(servers: Mapping[str, Server], path: str) -> dict[str, list[Run]]:
    """Load servers one after the other, several times."""
    for server in servers.values():
        server.load(path, 1)
    runs: dict[str, list[Run]] = {name: [] for name in servers}
    for number in range(ROUNDS):
        for name in sorted(servers, reverse=bool(number % 2)):
            runs[name].append(servers[name].load(path, SECONDS))
    return runs


def ratio(runs: Mapping[str, list[Run]], name: str, base: str, field: str = "rate") -> float:
    """Return the median of the ratios of runs that came one after the other."""
    pairs = zip(runs[name], runs[base], strict=True)
    return float(
        statistics.median(getattr(one, field) / getattr(other, field) for one, other in pairs)
    )


def table(runs: Mapping[str, list[Run]], base: str) -> list[str]:
    """Return a table of medians and of ratios to the base."""
    lines = ["| | requests/s | ratio | p50 ms | p99 ms | ratio |", "|---|---|---|---|---|---|"]
    for name, measured in runs.items():
        rate, p50, p99 = (
            statistics.median(getattr(run, field) for run in measured)
            for field in ("rate", "p50", "p99")
        )
        share, tail = ratio(runs, name, base), ratio(runs, name, base, "p99")
        lines.append(f"| {name} | {rate:,.0f} | {share:.2f} | {p50:.2f} | {p99:.2f} | {tail:.2f} |")
    return lines


def price(folder: Path) -> list[str]:
    """Measure a route that does nothing, then one that crashes, then memory."""
    service = folder / "hello"
    with contextlib.ExitStack() as stack:

        def start(target: str, *options: str, **env: str) -> Server:
            where = ROOT if target.startswith("bench.") else service
            return stack.enter_context(running(target, where, *options, env=PRODUCTION | env))

        bare = start("bench.peers:bare", "--factory", *QUIET)
        airtight = start("src.hello:app")
        silent = start("src.hello:app", LOG_LEVEL="warning")
        own_log = start("bench.peers:bare", "--factory")
        recipe = start("bench.peers:recipe", "--factory", *QUIET)
        handlers = start("bench.peers:three_handlers", "--factory", *QUIET)
        trivial = {
            "bare FastAPI, no access log": bare,
            "Airtight": airtight,
            "Airtight, no access line": silent,
        }
        trivial |= {"FastAPI with uvicorn's access log": own_log, "the usual recipe": recipe}
        crashes = {"three handlers, no access line": handlers, "Airtight": airtight}
        lines = [
            "## A route that does nothing",
            "",
            *table(in_turn(trivial, "/"), next(iter(trivial))),
        ]
        lines += [
            "",
            "## A route that crashes",
            "",
            *table(in_turn(crashes, "/crash"), next(iter(crashes))),
        ]
    return [*lines, "", "## Memory of a worker", "", *memory(service)]


def observers(folder: Path) -> list[str]:
    """Measure what each tool costs that observes the service: taken, and told where to send things."""
    taken = {
        "nothing": "[]",
        "prometheus": "[prometheus]",
        "sentry": "[sentry]",
        "opentelemetry": "[opentelemetry]",
    }
    taken["all three"] = "[prometheus, opentelemetry, sentry]"
    services = {
        name: hello(folder / name, "-d", f"observability={value}") for name, value in taken.items()
    }
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    with sink() as address, contextlib.ExitStack() as stack:
        dsn = {"SENTRY_DSN": f"http://key@{address}/1"}
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}"}
        kinds = {
            "nothing": ("nothing", {}),
            "nothing, `LOG_FORMAT=ecs`": ("nothing", {"LOG_FORMAT": "ecs"}),
            "prometheus": ("prometheus", {}),
            "sentry, off": ("sentry", {}),
            "sentry, idle": ("sentry", dsn),
            "opentelemetry, off": ("opentelemetry", {}),
            "opentelemetry, a tenth": ("opentelemetry", collector | sampled),
            "opentelemetry, each request": ("opentelemetry", collector),
            "all three, off": ("all three", {}),
            "all three": ("all three", dsn | collector),
        }
        servers = {
            name: stack.enter_context(
                running("src.hello:app", services[kind], env=PRODUCTION | env)
            )
            for name, (kind, env) in kinds.items()
        }
        return ["## What observes the service", "", *table(in_turn(servers, "/"), "nothing")]


def memory(service: Path) -> list[str]:
    """Measure what a worker holds after few and after many requests."""
    lines = ["| requests | MB |", "|---|---|"]
    with running("src.hello:app", service, env=PRODUCTION) as server:
        for wanted in (10_000, 200_000):
            while (served := server.output.read_bytes().count(b'"access"')) < wanted:
                server.load("/", max(1, min(5, (wanted - served) // 20_000)))
            lines.append(f"| {served:,} | {server.memory():.1f} |")
    return lines


def decisions(folder: Path) -> list[str]:
    """Measure `POST /decisions` on real stores, and find where its time goes."""
    script = folder / "post.lua"
    script.write_text(POST.format(body=json.dumps(APPLICATION)))
    with stores.running() as urls:
        env = urls | PRODUCTION
        subprocess.run(["alembic", "upgrade", "head"], check=True, cwd=folder, env=os.environ | env)
        with running("src.main:app", folder, env=env) as server:
            server.load("/decisions", 2, script=script)
            runs = [server.load("/decisions", SECONDS, script=script) for _ in range(ROUNDS)]
            samples = folder / "samples.txt"
            sampler = [
                "py-spy",
                "record",
                "--format=raw",
                "--rate=500",
                "--duration=8",
                f"--output={samples}",
            ]
            sampler += [f"--pid={server.process.pid}"]
            with subprocess.Popen(sampler, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
                server.load("/decisions", 10, script=script)
    medians = [
        statistics.median(getattr(run, field) for run in runs) for field in ("rate", "p50", "p99")
    ]
    figures = "{:,.0f} requests/s, p50 {:.2f} ms, p99 {:.2f} ms".format(*medians)
    failed = sum(run.bad for run in runs)
    lines = [
        f"{figures}, {failed} answers other than 201.",
        "",
        "| where the time goes | share |",
        "|---|---|",
    ]
    return [
        "## `POST /decisions` on PostgreSQL and Redis",
        "",
        *lines,
        *hottest(samples.read_text()),
    ]


def hottest(stacks: str, count: int = 5) -> list[str]:
    """Return the places in which a sampled process spent most of its time."""
    places: collections.Counter[str] = collections.Counter()
    for stack, name, file, samples in re.findall(
        r"(?m)^(.*;)?([^;\n]+) \((.+?)(?::\d+)?\) (\d+)$", stacks
    ):
        places[f"`{name}` in {'/'.join(Path(file).parts[-2:])}"] += int(samples) if stack else 0
    return [
        f"| {place} | {samples / places.total():.0%} |"
        for place, samples in places.most_common(count)
    ]


def main() -> None:
    """Measure everything and write the report."""
    with tempfile.TemporaryDirectory() as name:
        hello(Path(name, "hello"))
        lines = [
            *price(Path(name)),
            "",
            *observers(Path(name)),
            "",
            *decisions(render(Path(name, "decisions"))),
        ]
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    head = [
        "# Benchmarks",
        "",
        f"Written by `nox -s bench`. {' '.join((__doc__ or '').split(chr(10) * 2)[1].split())}",
    ]
    head += [
        "",
        f"Python {platform.python_version()}, {versions}; uvicorn with one worker on a core of its own, wrk on another",
    ]
    head[-1] += f" with 16 connections; medians of {ROUNDS} rounds of {SECONDS} s."
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join([*head, "", *lines, ""]), encoding="utf-8")
    print(REPORT.read_text())


if __name__ == "__main__":
    main()
