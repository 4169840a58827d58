"""A shop: the service's parts on stores and a tax office of its own."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections import Counter
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
from src.models.order import NewOrder, Order, Origin
from tests.support.service import ROOT, Record, Service, launch, running

# Long enough for a machine with other work, and shorter than what the tax office calls too long.
TAX_OFFICE_TIMEOUT = 0.9  # seconds
EMISSION_TIMEOUT = 2  # seconds
TOO_LATE = f"longer than {TAX_OFFICE_TIMEOUT} s"


class Office:
    """A tax office that a test may kill, on a port that stays the same."""

    def __init__(self, book: Path) -> None:
        self.book = book
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> Self:
        """Start the tax office, also after it was killed."""
        command = [
            sys.executable,
            "-m",
            "tests.support.tax_office",
            str(self.port),
            str(self.book),
        ]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env=without_coverage(),
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"open\n"
        return self

    def kill(self) -> None:
        """Kill the tax office; what it has registered is not lost."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def mode(self, mode: str) -> None:
        """Change how the tax office behaves from now on."""
        response = httpx2.put(f"{self.url}/mode", content=mode)
        response.raise_for_status()

    def registered(self) -> list[str]:
        """Return the orders whose receipts are registered."""
        lines = self.book.read_text().splitlines()
        return [line.split()[0] for line in lines]


class Shop:
    """Where orders are placed and handled.

    Args:
        folder: where receipts are printed, and where the book of the tax office is.
        settings: settings that differ from those below, with which an emission takes at most two
            seconds.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.office = Office(folder / "book")
        self.receipts = folder / "receipts"
        prefix = f"{os.environ['REDIS_PREFIX']}{secrets.token_hex(4)}:"
        self.stream = f"{prefix}orders"
        self.env = {
            "DATABASE_URL": os.environ["DATABASE_URL"],
            "REDIS_URL": os.environ["REDIS_URL"],
            "REDIS_PREFIX": prefix,
            "TAX_OFFICE_URL": self.office.url,
            "RECEIPTS_FOLDER": str(self.receipts),
            "EMISSION_TIMEOUT": str(EMISSION_TIMEOUT),
            "TAX_OFFICE_TIMEOUT": str(TAX_OFFICE_TIMEOUT),
            "RETRY_DELAY": "0.1",
            "MAX_ATTEMPTS": "3",
        } | settings
        self._processes = contextlib.ExitStack()

    def close(self) -> None:
        """Stop all processes, and delete all orders."""
        self._processes.close()
        self.office.kill()
        self.query("TRUNCATE dead_letters, orders CASCADE")

    def service(self) -> Service:
        """Run the service."""
        return self._processes.enter_context(running(env=self.env))

    def worker(self, *arguments: str, **settings: str) -> Service:
        """Run a worker."""
        env = self.env | settings
        worker = launch("-m", "src.worker", *arguments, env=env)
        self._processes.callback(worker.stop, signal.SIGTERM)
        if not arguments:
            worker.wait(ready)
        return worker

    def place(self, *correlation_ids: str) -> list[str]:
        """Store orders, as the service does for requests of these ids."""

        async def add_all() -> list[Order]:
            url = PostgresDsn(self.env["DATABASE_URL"])
            connector = PostgresConnector(url, 10, 5)
            async with contextlib.aclosing(connector):
                orders = OrderRepository(connector, lock_timeout=1, retry_delay=1)
                new = NewOrder.model_validate(ORDER)
                adding = [
                    orders.add(new, None, Origin(correlation_id))
                    for correlation_id in correlation_ids
                ]
                return await asyncio.gather(*adding)

        return [str(order.id) for order in asyncio.run(add_all())]

    def query(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Return the rows of a statement."""

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.env["DATABASE_URL"])
            try:
                return await connection.fetch(statement, *values)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def update(self, order_id: str, assignments: str, *values: Any) -> None:
        """Change columns of an order; the values are `$2` and following in the assignments."""
        statement = f"UPDATE orders SET {assignments} WHERE id::text = $1"
        self.query(statement, order_id, *values)

    def redis(self, *command: Any) -> Any:
        """Return the result of a Redis command."""
        with redis.Redis.from_url(self.env["REDIS_URL"]) as client:
            return client.execute_command(*command)

    def count(self, status: str = "emitted") -> int:
        """Return how many orders have a status."""
        statement = "SELECT count(*) FROM orders WHERE status = $1"
        (row,) = self.query(statement, status)
        return int(row["count"])

    def dead_letters(self) -> int:
        """Return how many messages were given up."""
        (row,) = self.query("SELECT count(*) FROM dead_letters")
        return int(row["count"])

    def replay(self, count: int) -> None:
        """Replay the dead letters, and assert how many there were."""
        replaying = self.worker("replay")
        assert replaying.wait_for_exit() == 0
        counts = [
            record["count"]
            for record in replaying.records()
            if record["message"] == "dead letters replayed"
        ]
        assert counts == [count]

    def assert_settled(self, *orders: str) -> None:
        """Assert that each of these orders has one receipt, and that nothing is left to do.

        A receipt is printed, stored and registered.
        """
        rows = self.query(
            "SELECT id::text, text FROM orders JOIN receipts ON order_id = id"
            " WHERE status = 'emitted' AND due_at IS NULL"
        )
        stored = {row["id"]: row["text"] for row in rows}
        for order_id in orders:
            assert order_id in stored
            receipt = self.receipts / f"{order_id}.txt"
            assert receipt.read_text(encoding="utf-8") == stored[order_id]
        registered = Counter(self.office.registered())
        assert {order_id: registered[order_id] for order_id in orders} == dict.fromkeys(orders, 1)


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
    wanted: Record = {"message": "message", **fields}
    if correlation_id:
        wanted["correlation_id"] = correlation_id
    return [record for record in records if wanted.items() <= record.items()]


def ready(records: list[Record]) -> list[Record]:
    """Return the records that say that a worker is ready."""
    return [record for record in records if record["message"] == "worker is ready"]


def without_coverage() -> dict[str, str]:
    """Return an environment in which processes that get killed do not measure coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}
