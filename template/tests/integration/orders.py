"""A shop: the service's parts on stores and a tax office of its own."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx2
import redis
from pydantic import PostgresDsn

from dev.ports import free_port
from dev.tasks import ORDER
from src.clients.orders import OrderRepository
from src.connectors.postgres import PostgresConnector
from src.models.order import NewOrder
from tests.service import ROOT, Record, Service, launch, running


class Office:
    """A tax office that a test may kill, on a port that stays the same."""

    def __init__(self, book: Path) -> None:
        self.book, self.port = book, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> Self:
        """Open it, again if need be."""
        command = [sys.executable, "-m", "tests.tax_office", str(self.port), str(self.book)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env=without_coverage())
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"open\n"
        return self

    def kill(self) -> None:
        """Kill it; what it has registered is kept."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def mode(self, mode: str) -> None:
        """Have it answer like this from now on."""
        httpx2.put(f"{self.url}/mode", content=mode).raise_for_status()

    def registered(self) -> list[str]:
        """Return the orders whose receipts it has registered."""
        return [line.split()[0] for line in self.book.read_text().splitlines()]


class Shop:
    """Where orders are placed and handled.

    Args:
        folder: where receipts are printed, and where the tax office keeps its book.
        settings: of the service and its workers, in which emissions take a second at the most.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.office, self.receipts = Office(folder / "book"), folder / "receipts"
        self.env = {"DATABASE_URL": os.environ["DATABASE_URL"], "REDIS_URL": os.environ["REDIS_URL"]}
        self.env |= {"REDIS_PREFIX": f"{os.environ['REDIS_PREFIX']}{secrets.token_hex(4)}:"}
        self.env |= {"TAX_OFFICE_URL": self.office.url, "RECEIPTS_FOLDER": str(self.receipts)}
        self.env |= {"EMISSION_TIMEOUT": "1", "TAX_OFFICE_TIMEOUT": "0.4", "MAX_ATTEMPTS": "3"} | settings
        self.stream = f"{self.env['REDIS_PREFIX']}orders"
        self._processes = contextlib.ExitStack()

    def close(self) -> None:
        """Stop all that runs, and forget all orders."""
        self._processes.close()
        self.office.kill()
        self.query("TRUNCATE orders CASCADE")

    def service(self) -> Service:
        """Run the service."""
        return self._processes.enter_context(running(env=self.env))

    def worker(self, *arguments: str, **settings: str) -> Service:
        """Run a worker."""
        worker = launch("-m", "src.worker", *arguments, env=self.env | settings)
        self._processes.callback(worker.stop, signal.SIGTERM)
        if not arguments:
            worker.wait(lambda records: any(r["message"] == "worker started" for r in records))
        return worker

    def place(self, count: int = 1) -> list[str]:
        """Keep orders, as the service does."""

        async def add() -> list[str]:
            url = PostgresDsn(self.env["DATABASE_URL"])
            async with contextlib.aclosing(PostgresConnector(url, 10, 5)) as connector:
                orders, new = OrderRepository(connector, 1), NewOrder.model_validate(ORDER)
                placed = await asyncio.gather(*(orders.add(new, None, f"request-{i}") for i in range(count)))
            return [str(order.id) for order in placed]

        return asyncio.run(add())

    def query(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Ask the database."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.env["DATABASE_URL"])
            try:
                return await connection.fetch(statement, *values)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def redis(self, *command: Any) -> Any:
        """Ask Redis."""
        with redis.Redis.from_url(self.env["REDIS_URL"]) as client:
            return client.execute_command(*command)

    def statuses(self) -> dict[str, int]:
        """Return how many orders have which status."""
        return dict(self.query("SELECT status, count(*) FROM orders GROUP BY 1"))  # type: ignore[arg-type]

    def wait_until_emitted(self, worker: Service, count: int, timeout: float = 30) -> None:
        """Wait until so many orders are emitted."""
        worker.wait(lambda _: self.statuses().get("emitted") == count, timeout)

    def assert_settled(self, count: int) -> None:
        """Each of so many orders has one receipt that is printed, kept and registered, and nothing is left to do."""
        assert self.statuses() == {"emitted": count}
        kept = {row["order_id"]: row["text"] for row in self.query("SELECT order_id::text, text FROM receipts")}
        assert {file.stem: file.read_text(encoding="utf-8") for file in self.receipts.glob("*.txt")} == kept
        assert sorted(self.office.registered()) == sorted(kept)
        assert len(kept) == count
        assert self.query("SELECT id FROM orders WHERE due_at IS NOT NULL") == []


@contextlib.contextmanager
def opened(folder: Path, **settings: str) -> Iterator[Shop]:
    """Open a shop until the end of the block."""
    shop = Shop(folder, **settings)
    try:
        yield shop
    finally:
        shop.close()


def lines(records: list[Record], **fields: object) -> list[Record]:
    """Return the lines of messages that have these fields."""
    return [r for r in records if r["message"] == "message" and fields.items() <= r.items()]


def has(count: int, **fields: object) -> Callable[[list[Record]], bool]:
    """Return a condition: so many messages have these fields."""
    return lambda records: len(lines(records, **fields)) >= count


def without_coverage() -> dict[str, str]:
    """Return an environment in which processes that get killed do not measure coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COV", "COVERAGE"))}
