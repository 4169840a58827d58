"""Under load, replicas are replaced, rolled back and killed, and a store goes away: nothing is lost.

The orchestrator is `tests/support/orchestrator.py`; what it does is taken from the manifests.
"""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.clients import Clients, Response
from tests.support.files import change, read, write
from tests.support.orchestrator import Deployment, Proxy, Record, Replica, Store, read_plan
from tests.support.services import ENVIRONMENT, free_port, wait_until
from tests.support.template import Answers, render_into

ANSWERS: Answers = {"example": "orders", "deploy": ["kubernetes"]}
PROGRAMS = (
    "kubectl",
    "haproxy",
    "redis-server",
)
OUTDATED = "SchemaOutdatedError"
LOST = "PostgresConnectionError"
AWAY = 5  # seconds
GOOD = {
    200,
    201,
}
MIGRATION = '''"""Add the currency of orders."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Move on to this version."""
    op.execute("ALTER TABLE orders ADD COLUMN currency text NOT NULL DEFAULT 'EUR'")


def downgrade() -> None:
    """Go back to the version before."""
    op.execute("ALTER TABLE orders DROP COLUMN currency")
'''

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}"
)


class Cluster:
    """The service and its workers, on stores of their own, behind a proxy, under load.

    Args:
        folder: for all files.
        snapshot: the template.
    """

    def __init__(self, folder: Path, snapshot: Path) -> None:
        self.first = folder / "first"
        self.second = folder / "second"
        render_into(self.first, snapshot, ANSWERS)
        shutil.copytree(self.first, self.second)
        make_second_version(self.second)
        self.book = folder / "book"
        self.postgres = Store("postgres", self.first, folder)
        self.redis = Store("redis", self.first, folder)
        self.proxy = Proxy(folder)
        self.clients = Clients(self.proxy.port)
        self._folder = folder

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run all of it, in its first version."""
        with contextlib.ExitStack() as stack:
            for store in (self.postgres, self.redis):
                store.start()
                stack.callback(store.stop)
            self.url = self.postgres.url
            self.env = self._environment(stack)
            self.migrate(self.first)
            stack.enter_context(self.proxy.running())
            self.service = self._deploy("service", stack, self.proxy)
            self.workers = self._deploy("worker", stack)
            yield

    def migrate(self, version: Path) -> None:
        """Do what the Job does."""
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        env = ENVIRONMENT | {"DATABASE_URL": self.url}
        subprocess.run(command, cwd=version, env=env, check=True, capture_output=True)

    def replace(
        self, version: Path, replica: Replica | None = None, worker: Replica | None = None
    ) -> None:
        """Replace all replicas by those of another version, and wait until the old ones are gone.

        Args:
            version: the folder of the service.
            replica: of that version, which has been started already.
            worker: of that version, which has been started already.
        """
        self.service.roll_out(version, replica)
        self.workers.roll_out(version, worker)
        self.service.settle()
        self.workers.settle()

    def read(self, query: str) -> list[str]:
        """Return the texts that a query finds."""

        async def fetch() -> list[Any]:
            connection = await asyncpg.connect(self.url)
            try:
                return list(await connection.fetch(query))
            finally:
                await connection.close()

        return [row[0] for row in asyncio.run(fetch())]

    def execute(self, statements: str) -> None:
        """Execute statements."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.url)
            try:
                await connection.execute(statements)
            finally:
                await connection.close()

        asyncio.run(execute())

    def _environment(self, stack: contextlib.ExitStack) -> dict[str, str]:
        port = free_port()
        command = ["-m", "tests.support.tax_office", str(port), str(self.book)]
        office = subprocess.Popen([sys.executable, *command], cwd=self.first)
        stack.callback(office.wait)
        stack.callback(office.terminate)
        return {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "METRICS_TOKEN": "a-token-for-this-test-alone",
            "TAX_OFFICE_URL": f"http://127.0.0.1:{port}",
            "RECEIPTS_FOLDER": str(self._folder / "receipts"),
            # What the outage interrupts is emitted again soon, not after a minute.
            "TAX_OFFICE_TIMEOUT": "2",
            "EMISSION_TIMEOUT": "5",
        }

    def _deploy(
        self, name: str, stack: contextlib.ExitStack, proxy: Proxy | None = None
    ) -> Deployment:
        logs = self._folder / name
        logs.mkdir()
        deployment = Deployment(read_plan(self.first, name), self.env, logs, proxy)
        deployment.scale(self.first)
        stack.callback(deployment.close)
        return deployment


def make_second_version(folder: Path) -> None:
    """Let the service answer with the currency of an order, which a migration adds."""
    fields = "    created_at: datetime\n    status: Status\n"
    change(folder, "src/models/order.py", fields, f"{fields}    currency: str\n")
    write(folder / "migrations/versions/0002_currency.py", MIGRATION)


def failed(responses: list[Response]) -> list[Response]:
    """Return the responses that no client wants."""
    return [response for response in responses if response.status not in GOOD]


class Figures:
    """What became of the requests, in each part of the test.

    Args:
        clients: that send them.
        record: tells a figure, by its name.
    """

    def __init__(self, clients: Clients, record: Callable[[str, object], None]) -> None:
        self._clients = clients
        self._record = record

    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[list[Response]]:
        """Collect the responses that arrive within the block, and tell how long it took."""
        responses: list[Response] = []
        since = time.monotonic()
        before = len(self._clients.responses)
        yield responses
        responses += self._clients.responses[before:]
        seconds = time.monotonic() - since
        count = len(failed(responses))
        self._record(name, f"{count} of {len(responses)} requests failed, in {seconds:.1f} s of")

    def next(self, count: int = 50) -> list[Response]:
        """Wait for the next responses, and return them."""
        before = len(self._clients.responses)
        wait_until(lambda: len(self._clients.responses) >= before + count)
        return self._clients.responses[before:]


def check_update(cluster: Cluster, figures: Figures) -> None:
    """The second version waits for its tables, and takes over without a failed request."""
    with figures.measured("update") as responses:
        replica = cluster.service.launch(cluster.second)
        worker = cluster.workers.launch(cluster.second)
        wait_until(lambda: replica.get("/health/live") == 200)
        assert replica.get("/health/started") == 503
        wait_until(lambda: OUTDATED in read(worker.log))
        cluster.migrate(cluster.second)
        cluster.replace(cluster.second, replica, worker)
    assert failed(responses) == []
    assert all(response.is_new for response in figures.next())


def check_rollback(cluster: Cluster, figures: Figures) -> None:
    """The first version works on the tables of the second, and comes back unnoticed."""
    with figures.measured("rollback") as responses:
        cluster.replace(cluster.first)
    assert failed(responses) == []
    assert not any(response.is_new for response in figures.next())
    exit_codes = cluster.service.exit_codes + cluster.workers.exit_codes
    assert -signal.SIGKILL not in exit_codes


def check_rotation(cluster: Cluster, figures: Figures) -> None:
    """PostgreSQL gets another user, with another password, as the README says; nobody notices."""
    statements = read(cluster.first / "README.md").partition("```sql\n")[2].partition("```")[0]
    before, after = statements.replace("'...'", "'another'").split("-- now roll out")
    with figures.measured("another password") as responses:
        cluster.execute(before)
        url = urlsplit(cluster.url)
        cluster.url = url._replace(netloc=f"app2:another@127.0.0.1:{url.port}").geturl()
        for deployment in (cluster.service, cluster.workers):
            deployment.env["DATABASE_URL"] = cluster.url
        cluster.replace(cluster.first)
        cluster.execute(after.partition("\n")[2])
    assert failed(responses + figures.next()) == []


def check_crash(cluster: Cluster, figures: Figures) -> None:
    """Of a replica that is killed, only the requests in flight fail: one for each client at most."""
    with figures.measured("kill -9") as responses:
        cluster.service.kill(cluster.service.replicas[0])
    assert len(failed(responses)) <= cluster.clients.count
    assert failed(figures.next()) == []


def check_outage(cluster: Cluster, figures: Figures) -> None:
    """Without PostgreSQL all replicas stay, and answer 503 themselves; afterwards all is well."""
    with figures.measured("PostgreSQL away") as responses:
        cluster.postgres.stop()
        threading.Event().wait(AWAY)  # the outage itself
        statuses = [replica.get("/health/started") for replica in cluster.service.replicas]
        cluster.postgres.start()
        wait_until(lambda: not failed(figures.next()))
    assert set(statuses) == {200}
    assert {response.status for response in failed(responses)} == {503}
    assert {response.kind for response in failed(responses)} == {"application/problem+json"}


def check_orders(cluster: Cluster) -> None:
    """Each order that was placed is there, once for each key, and so is its receipt."""
    placed = list(cluster.clients.placed.values())
    orders = cluster.read("SELECT id::text FROM orders")
    assert set(placed) <= set(orders)
    assert len(set(placed)) == len(placed)
    interrupted = len(orders) - len(placed)  # those that clients were about to place
    assert interrupted <= cluster.clients.count
    keys = cluster.read("SELECT DISTINCT idempotency_key FROM orders")
    assert len(keys) == len(orders)
    emitted = "SELECT id::text FROM orders WHERE status = 'emitted'"
    wait_until(lambda: len(cluster.read(emitted)) == len(orders), timeout=120)
    receipts = cluster.read("SELECT order_id::text FROM receipts")
    registered = [line.split()[0] for line in read(cluster.book).splitlines()]
    assert sorted(orders) == sorted(receipts) == sorted(registered)


def check_records(cluster: Cluster) -> None:
    """Each response has its line, each failure its record, and there is no other record of one."""
    records = cluster.service.records()
    lines = Counter(each["correlation_id"] for each in records if each["logger"] == "access")
    answered = [each for each in cluster.clients.responses if each.status in {*GOOD, 503}]
    assert [each for each in answered if lines[each.request_id] != 1] == []
    waiting, *failures = errors_in(records)
    assert waiting["error"] == OUTDATED
    ids = Counter(each["correlation_id"] for each in failures)
    assert ids == Counter(each.request_id for each in answered if each.status == 503)
    waiting, *outages = errors_in(cluster.workers.records())
    assert waiting["error"] == OUTDATED
    assert [each["error"] for each in outages] == [LOST] * cluster.workers.plan.replicas


def errors_in(records: list[Record]) -> list[Record]:
    """Return the records of failures, in the order in which they were written."""
    errors = [each for each in records if each["level"] in ("ERROR", "CRITICAL")]
    return sorted(errors, key=lambda each: str(each["timestamp"]))


@pytest.fixture
def cluster(snapshot: Path) -> Iterator[Cluster]:
    """Run the service in a folder that other users can enter, since stores run as such."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder, snapshot)
        with cluster.running():
            yield cluster


def test_nothing_is_lost(cluster: Cluster, record_property: Callable[[str, object], None]) -> None:
    """Of an update and a rollback no client notices anything; of a crash those that it hits."""
    figures = Figures(cluster.clients, record_property)
    with cluster.clients.running():
        assert not any(response.is_new for response in figures.next())
        check_update(cluster, figures)
        check_rollback(cluster, figures)
        check_rotation(cluster, figures)
        check_crash(cluster, figures)
        check_outage(cluster, figures)
    check_orders(cluster)
    check_records(cluster)
