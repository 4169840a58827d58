"""The orders in PostgreSQL, which also say when workers are to hear of them."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from src.connectors.postgres import PostgresConnector
from src.models.order import NewOrder, Order, Receipt, Status
# copier: if "opentelemetry" in observability
from src.airtight.tracing import traceparent
# copier: endif
from src.utils import errors

# copier: if false
# isort: on
# fmt: on
# copier: endif
logger = logging.getLogger(__name__)
# copier: if "opentelemetry" not in observability
ADD = """INSERT INTO orders (id, items, idempotency_key, correlation_id) VALUES ($1, $2, $3, $4)
ON CONFLICT (idempotency_key) DO NOTHING RETURNING *"""
# copier: endif
# copier: if "opentelemetry" in observability
ADD = """INSERT INTO orders (id, items, idempotency_key, correlation_id, traceparent) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (idempotency_key) DO NOTHING RETURNING *"""
# copier: endif
ANNOUNCE = """UPDATE orders SET due_at = now() + 2 * $1::interval WHERE id IN (
SELECT id FROM orders WHERE due_at <= now() ORDER BY due_at LIMIT 100 FOR UPDATE SKIP LOCKED)
RETURNING id::text AS order_id, attempts + 1 AS attempt, coalesce(correlation_id, '') AS correlation_id"""
# copier: if "opentelemetry" in observability
ANNOUNCE += ", coalesce(traceparent, '') AS traceparent"
# copier: endif
LOCK = """UPDATE orders SET status = 'emitting', changed_at = now(), attempts = orders.attempts + 1
FROM orders AS before WHERE orders.id = $1 AND before.id = $1
AND (orders.status = 'new' OR orders.status = 'emitting' AND orders.changed_at < now() - $2::interval)
RETURNING orders.changed_at, before.status, now() - before.changed_at AS age"""
RELEASE = """UPDATE orders SET status = 'new',
due_at = now() + least(power(2, least(attempts - 1, 9)) * '1 s'::interval, $3)
WHERE id = $1 AND status = 'emitting' AND changed_at = $2"""
EMITTED = """WITH receipt AS (INSERT INTO receipts (order_id, text, registration) VALUES ($1, $2, $3)
ON CONFLICT (order_id) DO NOTHING)
UPDATE orders SET status = 'emitted', changed_at = now(), due_at = NULL WHERE id = $1 AND status <> 'emitted'"""


class OrderRepository:
    """Keeps orders, and lets one emitter at a time work on each, for `timeout` seconds at the most."""

    def __init__(self, connector: PostgresConnector, timeout: float) -> None:
        self._connector, self._timeout = connector, timedelta(seconds=timeout)

    async def _row(self, statement: str, *values: object) -> Any:
        async with self._connector.connection() as connection:
            row = await connection.fetchrow(statement, *values)
        return {**row, "items": json.loads(row["items"])} if row and "items" in row else row

    async def add(self, new: NewOrder, key: str | None, correlation_id: str | None) -> Order:
        """Keep an order, once for each idempotency key; raises OrderConflictError."""
        values = [uuid4(), json.dumps(new.model_dump(mode="json")["items"]), key, correlation_id]
        # copier: if "opentelemetry" in observability
        values.append(traceparent())
        # copier: endif
        row = await self._row(ADD, *values)
        order = Order(
            **row or await self._row("SELECT * FROM orders WHERE idempotency_key = $1", key)
        )
        if order.items != new.items:
            raise errors.OrderConflictError(order.id)
        return order

    async def get(self, order_id: UUID) -> Order:
        """Return an order; raises OrderNotFoundError."""
        if row := await self._row("SELECT * FROM orders WHERE id = $1", order_id):
            return Order(**row)
        raise errors.OrderNotFoundError(order_id)

    async def get_order_status(self, order_id: UUID) -> Status:
        """Return how far an order has come; raises OrderNotFoundError."""
        return (await self.get(order_id)).status

    async def ensure_order_unlocked(self, order_id: UUID) -> datetime:
        """Lock an order and return since when; raises OrderAlreadyInProgressError and OrderAlreadyEmittedError."""
        lock = await self._row(LOCK, order_id, self._timeout)
        if not lock and await self.get_order_status(order_id) == "emitted":
            raise errors.OrderAlreadyEmittedError(order_id)
        if not lock:
            raise errors.OrderAlreadyInProgressError(order_id)
        if lock["status"] == "emitting":
            facts = {"order_id": order_id, "seconds": lock["age"].total_seconds()}
            logger.warning("stuck emission taken over", extra=facts)
        since: datetime = lock["changed_at"]
        return since

    async def release(self, order_id: UUID, since: datetime) -> None:
        """Unlock an order, to be tried again later than last time, unless it was taken over."""
        await self._row(RELEASE, order_id, since, self._timeout)

    async def emitted(self, receipt: Receipt, registration: str) -> None:
        """Keep a receipt that was registered."""
        await self._row(EMITTED, receipt.order_id, receipt.text, registration)

    @asynccontextmanager
    async def due(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Give orders to announce, also those of which nothing was heard for long; taken back if the block fails."""
        async with self._connector.connection() as connection, connection.transaction():
            yield [dict(row) for row in await connection.fetch(ANNOUNCE, self._timeout)]

    async def give_up(self, order_id: UUID) -> None:
        """Announce an order no more."""
        await self._row("UPDATE orders SET due_at = NULL, attempts = 0 WHERE id = $1", order_id)
