"""The orders in PostgreSQL, which also says when workers are to emit them."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from src.connectors.postgres import PostgresConnector
from src.models.order import EmissionLock, NewOrder, Order, Origin, Receipt, Status
from src.utils.errors import (
    OrderAlreadyEmittedError,
    OrderAlreadyInProgressError,
    OrderConflictError,
    OrderNotFoundError,
)

logger = logging.getLogger(__name__)
MAX_DELAY = timedelta(minutes=10)  # between two attempts

INSERT_ORDER = """
    INSERT INTO orders (id, items, idempotency_key, correlation_id, traceparent)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (idempotency_key) DO NOTHING
    RETURNING *
"""
SELECT_ORDER = "SELECT * FROM orders WHERE id = $1"
SELECT_ORDER_BY_KEY = "SELECT * FROM orders WHERE idempotency_key = $1"

# An order that is announced stays due, later, so that one whose announcement is lost is
# announced again. One that is emitted or given up is no longer due.
ANNOUNCE_ORDERS = """
    UPDATE orders SET due_at = now() + 2 * $1::interval
    WHERE id IN (
        SELECT id FROM orders
        WHERE due_at <= now()
        ORDER BY due_at
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    )
    RETURNING
        id::text AS order_id,
        (attempts + postponements + 1)::text AS attempt,
        (attempts >= $3)::text AS exhausted,
        coalesce(correlation_id, '') AS correlation_id,
        coalesce(traceparent, '') AS traceparent
"""

# Counts the attempt at its beginning, so that one that ends with its process counts as well.
LOCK_ORDER = """
    UPDATE orders SET
        status = 'emitting',
        changed_at = now(),
        attempts = orders.attempts + 1,
        first_attempt_at = coalesce(orders.first_attempt_at, now())
    FROM orders AS before
    WHERE orders.id = $1
    AND before.id = $1
    AND (
        orders.status = 'new'
        OR orders.status = 'emitting' AND orders.changed_at < now() - $2::interval
    )
    RETURNING orders.changed_at, before.status, now() - before.changed_at AS age
"""

# The delay doubles with each attempt, and is spread so that orders do not come back together.
RELEASE_ORDER = """
    UPDATE orders SET
        status = 'new',
        attempts = attempts - $3::int,
        postponements = postponements + $3::int,
        due_at = CASE WHEN due_at IS NOT NULL THEN now() + least(
            power(2, least(attempts + postponements - 1, 20)) * $4::interval, $5::interval
        ) * (0.75 + random() / 2) END
    WHERE id = $1
    AND status = 'emitting'
    AND changed_at = $2
"""
SELECT_EXHAUSTED = """
    SELECT attempts >= $2 OR first_attempt_at < now() - $3::interval AS exhausted
    FROM orders
    WHERE id = $1
"""
STORE_RECEIPT = """
    WITH receipt AS (
        INSERT INTO receipts (order_id, text, registration)
        VALUES ($1, $2, $3)
        ON CONFLICT (order_id) DO NOTHING
    ), dead_letter AS (
        DELETE FROM dead_letters WHERE order_id = $1
    )
    UPDATE orders SET status = 'emitted', changed_at = now(), due_at = NULL
    WHERE id = $1
    AND status <> 'emitted'
"""
INSERT_DEAD_LETTER = """
    WITH given_up AS (
        UPDATE orders SET due_at = NULL WHERE id = $1
    )
    INSERT INTO dead_letters (order_id, message, error)
    VALUES ($1, $2, $3)
    ON CONFLICT (order_id) DO UPDATE SET given_up_at = now(), error = excluded.error
"""
COUNT_DEAD_LETTERS = "SELECT count(*) AS count FROM dead_letters"
REPLAY_DEAD_LETTERS = """
    WITH replayed AS (
        DELETE FROM dead_letters USING orders
        WHERE orders.id = dead_letters.order_id
        RETURNING orders.id
    )
    UPDATE orders SET due_at = now(), attempts = 0, postponements = 0, first_attempt_at = NULL
    FROM replayed
    WHERE orders.id = replayed.id
    RETURNING orders.id
"""


@dataclass(frozen=True)
class RetryLimits:
    """How long workers try to emit the receipt of an order.

    Attributes:
        attempts: how many; those that did not reach the tax office do not count.
        age: how long after the first one.
    """

    attempts: int
    age: timedelta


class OrderRepository:
    """Stores orders, and lets one emitter at a time work on each.

    Args:
        connector: to PostgreSQL.
        lock_timeout: after which an emission is taken over, in seconds.
        retry_delay: between the first two attempts, in seconds.
    """

    def __init__(
        self, connector: PostgresConnector, *, lock_timeout: float, retry_delay: float
    ) -> None:
        self._connector = connector
        self._lock_timeout = timedelta(seconds=lock_timeout)
        self._retry_delay = timedelta(seconds=retry_delay)

    async def add(self, new: NewOrder, idempotency_key: str | None, origin: Origin) -> Order:
        """Store an order, or return the one that has this idempotency key.

        Raises:
            OrderConflictError: the key belongs to a different order.
        """
        row = await self._fetch_row(
            INSERT_ORDER,
            uuid4(),
            json.dumps(new.model_dump(mode="json")["items"]),
            idempotency_key,
            origin.correlation_id,
            origin.traceparent,
        )
        if row is None:
            row = await self._fetch_row(SELECT_ORDER_BY_KEY, idempotency_key)
        order = _to_order(row)
        if order.items != new.items:
            raise OrderConflictError(order.id)
        return order

    async def get(self, order_id: UUID) -> Order:
        """Return an order; raises OrderNotFoundError."""
        row = await self._fetch_row(SELECT_ORDER, order_id)
        if row is None:
            raise OrderNotFoundError(order_id)
        return _to_order(row)

    async def get_order_status(self, order_id: UUID) -> Status:
        """Return how far an order has come; raises OrderNotFoundError."""
        order = await self.get(order_id)
        return order.status

    async def ensure_order_unlocked(self, order_id: UUID) -> EmissionLock:
        """Lock an order for its emission.

        Raises:
            OrderNotFoundError: there is no such order.
            OrderAlreadyInProgressError: it is locked.
            OrderAlreadyEmittedError: its receipt has been emitted.
        """
        row = await self._fetch_row(LOCK_ORDER, order_id, self._lock_timeout)
        if row is None:
            if await self.get_order_status(order_id) == "emitted":
                raise OrderAlreadyEmittedError(order_id)
            raise OrderAlreadyInProgressError(order_id)
        if row["status"] == "emitting":
            facts = {"order_id": order_id, "seconds": row["age"].total_seconds()}
            logger.warning("stuck emission taken over", extra=facts)
        return EmissionLock(order_id, row["changed_at"])

    async def release(self, lock: EmissionLock, *, postponed: bool) -> None:
        """Unlock an order, to be tried again later than last time, unless it was taken over.

        Args:
            lock: from `ensure_order_unlocked`.
            postponed: whether nothing was attempted, so that it does not count.
        """
        await self._fetch_row(
            RELEASE_ORDER,
            lock.order_id,
            lock.since,
            int(postponed),
            self._retry_delay,
            MAX_DELAY,
        )

    async def store_receipt(self, receipt: Receipt, registration: str) -> None:
        """Store a receipt that was registered, and with it that the order is done."""
        await self._fetch_row(STORE_RECEIPT, receipt.order_id, receipt.text, registration)

    @asynccontextmanager
    async def due(self, count: int, limits: RetryLimits) -> AsyncIterator[list[dict[str, str]]]:
        """Yield messages that announce orders that are due; if the block fails they stay due.

        Args:
            count: of orders, at most.
            limits: what is beyond them is announced as exhausted.
        """
        async with self._connector.transaction() as connection:
            rows = await connection.fetch(
                ANNOUNCE_ORDERS, self._lock_timeout, count, limits.attempts
            )
            yield [dict(row) for row in rows]

    async def is_exhausted(self, order_id: UUID, limits: RetryLimits) -> bool:
        """Return whether an order has been tried as often, or as long, as it may be."""
        row = await self._fetch_row(SELECT_EXHAUSTED, order_id, limits.attempts, limits.age)
        return row is None or bool(row["exhausted"])

    async def add_dead_letter(self, order_id: UUID | None, message: str, error: str) -> None:
        """Store what workers have given up.

        Args:
            order_id: of the order, if there is one; it is announced no more.
            message: what the worker has received.
            error: the name of the error that was the last straw.
        """
        await self._fetch_row(INSERT_DEAD_LETTER, order_id, message, error)

    async def count_dead_letters(self) -> int:
        """Return how many messages were given up and not replayed yet."""
        row = await self._fetch_row(COUNT_DEAD_LETTERS)
        count: int = row["count"]
        return count

    async def replay_dead_letters(self) -> int:
        """Have the orders that were given up announced again, and return how many."""
        async with self._connector.connection() as connection:
            rows = await connection.fetch(REPLAY_DEAD_LETTERS)
        return len(rows)

    async def _fetch_row(self, statement: str, *values: object) -> Any:
        async with self._connector.connection() as connection:
            return await connection.fetchrow(statement, *values)


def _to_order(row: Mapping[str, Any]) -> Order:
    columns = {**row, "items": json.loads(row["items"])}
    return Order(**columns)
