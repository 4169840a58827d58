"""A shop: the service's parts on stores and a tax office of its own."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx2
import redis
from pydantic import PostgresDsn

from dev.ports import free_port
from dev.requests import ORDER
from src.clients.orders import OrderRepository
from src.connectors.postgres import PostgresConnector
from src.models.order import NewOrder, Origin
from tests.support.service import ROOT, Record, Service, launch, running


class Office:
    """A tax office that a test may kill, on a port that stays the same."""

    def __init__(self, book: Path) -> None:
        self.book, self.port = book, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> Self:
        """Open it, again if need be."""
        command = [sys.executable, "-m", "tests.support.tax_office", str(self.port), str(self.book)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, env=without_coverage()
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"open\n"
        return self

    def kill(self) -> None:
        """Kill it; what it has registered is not lost."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def mode(self, mode: str) -> None:
        """Have it behave like this from now on."""
        httpx2.put(f"{self.url}/mode", content=mode).raise_for_status()

    def registered(self) -> list[str]:
        """Return the orders whose receipts it has registered."""
        return [line.split()[0] for line in self.book.read_text().splitlines()]


class Shop:
    """Where orders are placed and handled.

    Args:
        folder: where receipts are printed, and where the book of the tax office is.
        settings: of the service and its workers, in which emissions take a second at the most.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.office = Office(folder / "book")
        self.receipts = folder / "receipts"
        self.env = {
            "DATABASE_URL": os.environ["DATABASE_URL"],
            "REDIS_URL": os.environ["REDIS_URL"],
            "REDIS_PREFIX": f"{os.environ['REDIS_PREFIX']}{secrets.token_hex(4)}:",
            "TAX_OFFICE_URL": self.office.url,
            "RECEIPTS_FOLDER": str(self.receipts),
            "EMISSION_TIMEOUT": "1",
            "TAX_OFFICE_TIMEOUT": "0.4",
            "RETRY_DELAY": "0.1",
            "MAX_ATTEMPTS": "3",
        } | settings
        self.stream = f"{self.env['REDIS_PREFIX']}orders"
        self._processes = contextlib.ExitStack()

    def close(self) -> None:
        """Stop all that runs, and forget all orders."""
        self._processes.close()
        self.office.kill()
        self.query("TRUNCATE dead_letters, orders CASCADE")

    def service(self) -> Service:
        """Run the service."""
        return self._processes.enter_context(running(env=self.env))

    def worker(self, *arguments: str, **settings: str) -> Service:
        """Run a worker."""
        worker = launch("-m", "src.worker", *arguments, env=self.env | settings)
        self._processes.callback(worker.stop, signal.SIGTERM)
        if not arguments:
            worker.wait(lambda records: any(r["message"] == "worker is ready" for r in records))
        return worker

    def place(self, *correlation_ids: str) -> list[str]:
        """Store orders, as the service does for requests of these ids."""

        async def add() -> list[str]:
            url = PostgresDsn(self.env["DATABASE_URL"])
            async with contextlib.aclosing(PostgresConnector(url, 10, 5)) as connector:
                orders = OrderRepository(connector, lock_timeout=1, retry_delay=1)
                new = NewOrder.model_validate(ORDER)
                placed = await asyncio.gather(
                    *(orders.add(new, None, Origin(one)) for one in correlation_ids)
                )
            return [str(order.id) for order in placed]

        return asyncio.run(add())

    def query(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.env["DATABASE_URL"])
            try:
                return await connection.fetch(statement, *values)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def redis(self, *command: Any) -> Any:
        """Return what Redis makes of a command."""
        with redis.Redis.from_url(self.env["REDIS_URL"]) as client:
            return client.execute_command(*command)

    def count(self, status: str = "emitted") -> int:
        """Return how many orders have a status."""
        found: int = self.query("SELECT count(*) FROM orders WHERE status = $1", status)[0]["count"]
        return found

    def dead_letters(self) -> int:
        """Return how many messages were given up."""
        found: int = self.query("SELECT count(*) FROM dead_letters")[0]["count"]
        return found

    def replay(self, count: int) -> None:
        """Have the dead letters replayed, and check how many there were."""
        replaying = self.worker("replay")
        assert replaying.wait_for_exit() == 0
        records = [r for r in replaying.records() if r["message"] == "dead letters replayed"]
        assert [r["count"] for r in records] == [count]

    def assert_settled(self, *orders: str) -> None:
        """Check that each of these orders has one receipt, and that nothing is left to do.

        A receipt is printed, stored and registered.
        """
        rows = self.query(
            "SELECT id::text, text FROM orders JOIN receipts ON order_id = id"
            " WHERE status = 'emitted' AND due_at IS NULL"
        )
        stored = {row["id"]: row["text"] for row in rows if row["id"] in orders}
        assert set(stored) == set(orders)
        printed = {
            file.stem: file.read_text(encoding="utf-8") for file in self.receipts.glob("*.txt")
        }
        assert {order: printed[order] for order in orders} == stored
        registered = [order for order in self.office.registered() if order in stored]
        assert sorted(registered) == sorted(stored)


@contextlib.contextmanager
def opened(folder: Path, **settings: str) -> Iterator[Shop]:
    """Open a shop until the end of the block."""
    shop = Shop(folder, **settings)
    try:
        yield shop
    finally:
        shop.close()


def lines(
    records: list[Record], correlation_id: str | None = None, **fields: object
) -> list[Record]:
    """Return the lines of messages that have these fields."""
    wanted = fields | ({"correlation_id": correlation_id} if correlation_id else {})
    return [r for r in records if r["message"] == "message" and wanted.items() <= r.items()]


def ready(records: list[Record]) -> list[Record]:
    """Return the records that say that a worker has all it needs."""
    return [r for r in records if r["message"] == "worker is ready"]


def without_coverage() -> dict[str, str]:
    """Return an environment in which processes that get killed do not measure coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}
