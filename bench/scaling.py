"""Measure what one core carries, and what a request costs each store: `nox -s scaling` prints it.

The service or its workers have one core to themselves; stores, load and tax office share another.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import redis
from dev import stores
from dev.ports import free_port
from dev.postgres import own_program
from dev.requests import APPLICATION, ORDER

from bench.servers import CORES, Server, pinned, render, running

SECONDS = int(os.environ.get("SECONDS", "10"))
ORDERS = int(os.environ.get("ORDERS", "3000"))
PRODUCTION = {"ENVIRONMENT": "production"}
# Each request differs, so that none finds what another has cached.
POST = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  local body = string.gsub([[{body}]], "AMOUNT", tostring(math.random(500, 15000)))
  return wrk.format(nil, nil, nil, body)
end
"""
INSERT_ORDERS = """
    INSERT INTO orders (id, items) SELECT gen_random_uuid(), $1 FROM generate_series(1, $2)
"""
# What a decision does to PostgreSQL, for pgbench.
INSERT_DECISION = """
    INSERT INTO decisions (id, score, default_probability, outcome, model, features)
    VALUES (gen_random_uuid(), 600, 0.1, 'approved', 'check', '{features}')
    RETURNING *;
"""
# What asyncpg's pool adds when a connection comes back.
RESET = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;"
COUNT_EMITTED = "SELECT count(*) FROM orders WHERE status = 'emitted'"


@dataclass(frozen=True)
class Stores:
    """PostgreSQL and Redis, on a core of their own.

    Attributes:
        urls: by the names of their settings.
    """

    urls: dict[str, str]

    def processes(self, setting: str) -> list[psutil.Process]:
        """Return the processes of a store."""
        port = urlsplit(self.urls[setting]).port
        for found in psutil.net_connections("tcp4"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) and found.pid:
                server = psutil.Process(found.pid)
                return [server, *server.children(recursive=True)]
        raise LookupError(setting)

    def pin(self) -> None:
        """Keep what runs, and what it starts, on the last core."""
        for setting in self.urls:
            for process in self.processes(setting):
                process.cpu_affinity([CORES[-1]])

    def cpu(self) -> dict[str, float]:
        """Return the seconds of CPU that each store has used."""
        names = {"PostgreSQL": "DATABASE_URL", "Redis": "REDIS_URL"}
        return {name: cpu_of(self.processes(setting)) for name, setting in names.items()}


def cpu_of(processes: list[psutil.Process]) -> float:
    """Return the seconds of CPU that processes have used."""
    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


@contextlib.contextmanager
def running_stores(folder: Path) -> Iterator[Stores]:
    """Run stores with the tables of a service."""
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stores-")))
        data.chmod(0o755)  # a store may run as another user
        urls = stack.enter_context(stores.running(data, durable=False))
        opened = Stores(urls)
        if sys.platform == "linux":
            opened.pin()
        env = os.environ | PRODUCTION | urls
        subprocess.run(["alembic", "upgrade", "head"], check=True, cwd=folder, env=env)
        yield opened


async def query(opened: Stores, statement: str, *values: object) -> Any:
    """Return the first value that a statement finds."""
    connection = await asyncpg.connect(opened.urls["DATABASE_URL"])
    try:
        return await connection.fetchval(statement, *values)
    finally:
        await connection.close()


def show_costs(count: int, used: Mapping[str, float]) -> None:
    """Print the CPU that each of some requests or orders has cost."""
    for name, seconds in used.items():
        print(f"    {name}: {1000 * seconds / count:.2f} ms of CPU each")


def measure_requests(folder: Path, path: str, body: str) -> None:
    """Print how many requests a second a service answers on one core, and what they cost."""
    script = folder / "post.lua"
    script.write_text(POST.format(body=body), encoding="utf-8")
    with running_stores(folder) as opened:
        env = opened.urls | PRODUCTION
        with running("src.main:app", folder, env=env) as server:
            server.load(path, 3, script=script)
            show_load(opened, server, path, script)
        connections = redis.Redis.from_url(opened.urls["REDIS_URL"])
        with contextlib.closing(connections):
            show_entries(connections)


def show_load(opened: Stores, server: Server, path: str, script: Path) -> None:
    """Load a service that is warm, and print the figures."""
    service = psutil.Process(server.process.pid)
    before = opened.cpu() | {"service": cpu_of([service])}
    run = server.load(path, SECONDS, script=script)
    after = opened.cpu() | {"service": cpu_of([service])}
    number = (
        "SELECT count(*) FROM pg_stat_activity WHERE client_port > 0 AND pid <> pg_backend_pid()"
    )
    connections = asyncio.run(query(opened, number))
    print(f"POST {path}: {run.rate:,.0f} requests/s, p99 {run.p99:.1f} ms, {run.bad} failed")
    print(f"    {server.memory():.0f} MB of memory, {connections} connections to PostgreSQL")
    count = int(run.rate * SECONDS)
    show_costs(count, {name: after[name] - before[name] for name in after})


def show_entries(client: "redis.Redis") -> None:
    """Print what a cached entry takes of Redis."""
    count = client.dbsize()
    if count:
        key = next(client.scan_iter())
        print(f"    {count:,} cached entries, {client.memory_usage(key)} bytes each")


@contextlib.contextmanager
def running_workers(
    folder: Path, count: int, env: Mapping[str, str]
) -> Iterator[list[psutil.Process]]:
    """Run workers on the first core, and a tax office beside the stores."""
    port = free_port()
    office = [*pinned(CORES[-1]), sys.executable, "-m", "tests.support.tax_office"]
    book = folder / f"book-{count}"
    command = [*pinned(CORES[0]), sys.executable, "-m", "src.worker"]
    settings = {
        "TAX_OFFICE_URL": f"http://127.0.0.1:{port}",
        "RECEIPTS_FOLDER": str(folder / f"receipts-{count}"),
    }
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> psutil.Process:
            process = stack.enter_context(
                subprocess.Popen(
                    arguments,
                    cwd=folder,
                    env={**os.environ, **PRODUCTION, **env, **settings},
                    stdout=subprocess.DEVNULL,
                )
            )
            stack.callback(process.terminate)
            return psutil.Process(process.pid)

        start(*office, str(port), str(book))
        yield [start(*command) for _ in range(count)]


def check_postgres(folder: Path) -> None:
    """Print how many decisions a second PostgreSQL stores on one core, without the service."""
    features = json.dumps(dict.fromkeys(APPLICATION, 0.5))
    insert = INSERT_DECISION.format(features=features)
    script = folder / "insert.sql"
    command = [*pinned(CORES[0]), own_program("pgbench"), "--no-vacuum", f"--time={SECONDS}"]
    command += ["--client=10", f"--file={script}"]
    with running_stores(folder) as opened:
        command.append(opened.urls["DATABASE_URL"])
        for name, text in {"alone": insert, "with what the pool adds": insert + RESET}.items():
            script.write_text(text, encoding="utf-8")
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rate = float(done.stdout.partition("tps = ")[2].split()[0])
            print(f"pgbench, {name}: {rate:,.0f} decisions/s")


def measure_workers(folder: Path, count: int) -> None:
    """Print how many orders a second some workers emit on one core, and what they cost."""
    with running_stores(folder) as opened, running_workers(folder, count, opened.urls) as workers:
        warm_up = max(100, ORDERS // 10)
        emit(opened, warm_up, warm_up)
        before = opened.cpu() | {"workers": cpu_of(workers)}
        seconds = emit(opened, ORDERS, warm_up + ORDERS)
        after = opened.cpu() | {"workers": cpu_of(workers)}
        print(f"{count} workers: {ORDERS / seconds:,.0f} orders/s")
        used = {name: after[name] - before[name] for name in after}
        show_costs(ORDERS, used)
        on_stores = (used["PostgreSQL"] + used["Redis"]) / seconds
        print(
            f"    their core is busy for {used['workers'] / seconds:.0%}, stores take {on_stores:.0%}"
        )


def emit(opened: Stores, count: int, total: int) -> float:
    """Place orders, and return the seconds until all there are have been emitted."""
    items = json.dumps(ORDER["items"])
    asyncio.run(query(opened, INSERT_ORDERS, items, count))
    since = time.perf_counter()
    while asyncio.run(query(opened, COUNT_EMITTED)) < total:
        time.sleep(0.2)
    return time.perf_counter() - since


def main() -> None:
    """Measure everything, and print it."""
    with tempfile.TemporaryDirectory() as name:
        decisions = render(Path(name, "decisions"))
        orders = render(Path(name, "orders"), "-d", "example=orders")
        application = json.dumps(APPLICATION | {"amount": "AMOUNT"}).replace('"AMOUNT"', "AMOUNT")
        measure_requests(decisions, "/decisions", application)
        check_postgres(decisions)
        measure_requests(orders, "/orders", json.dumps(ORDER))
        for count in (1, 2, 4):
            measure_workers(orders, count)


if __name__ == "__main__":
    main()
