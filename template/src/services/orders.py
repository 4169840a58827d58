"""Orders, and the emission of their receipts."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from src.clients.http import UpstreamClient
from src.clients.orders import OrderRepository
from src.clients.printer import Printer
from src.clients.tax_office import TaxOffice, connect_tax_office
from src.config import Settings
from src.connectors.postgres import PostgresConnector
from src.models.order import NewOrder, Order, Origin, Status
from src.utils.errors import (
    OrderAlreadyEmittedError,
    OrderAlreadyInProgressError,
    OrderEmissionTimeoutError,
    TaxOfficeUnavailableError,
)

logger = logging.getLogger(__name__)


class OrderFacade:
    """All that is done with orders, by the API and by workers alike.

    Args:
        status_service: stores orders and locks them.
        receipt_service: prints receipts.
        broker: registers receipts.
        emission_timeout: bounds an emission, in seconds.
    """

    def __init__(
        self,
        status_service: OrderRepository,
        receipt_service: Printer,
        broker: TaxOffice,
        emission_timeout: float,
    ) -> None:
        self._status_service = status_service
        self._receipt_service = receipt_service
        self._broker = broker
        self._emission_timeout = emission_timeout

    async def place(self, new: NewOrder, idempotency_key: str | None, origin: Origin) -> Order:
        """Store an order, or return the one that has this key; raises OrderConflictError."""
        order = await self._status_service.add(new, idempotency_key, origin)
        logger.info("order stored", extra={"order_id": order.id})
        return order

    async def get(self, order_id: UUID) -> Order:
        """Return an order; raises OrderNotFoundError."""
        return await self._status_service.get(order_id)

    async def emit(self, order_id: UUID) -> Status:
        """Emit the receipt of an order, unless that is done or being done, and return its status.

        Raises:
            OrderError: it failed; the order can be tried again.
        """
        try:
            lock = await self._status_service.ensure_order_unlocked(order_id)
        except (OrderAlreadyInProgressError, OrderAlreadyEmittedError) as exc:
            facts = {"order_id": order_id, "error": type(exc).__name__}
            logger.info("nothing to emit", extra=facts)
            return "emitting" if isinstance(exc, OrderAlreadyInProgressError) else "emitted"
        try:
            await self._emit_in_time(order_id)
        except BaseException as exc:
            postponed = isinstance(exc, TaxOfficeUnavailableError | asyncio.CancelledError)
            await self._status_service.release(lock, postponed=postponed)
            raise
        return await self._status_service.get_order_status(order_id)

    async def _emit_in_time(self, order_id: UUID) -> None:
        try:
            async with asyncio.timeout(self._emission_timeout):
                receipt = await self._receipt_service.create(order_id)
                await self._broker.emit_receipt_note(receipt)
        except TimeoutError as exc:
            raise OrderEmissionTimeoutError(order_id) from exc


def build_order_repository(settings: Settings, connector: PostgresConnector) -> OrderRepository:
    """Return what stores orders."""
    return OrderRepository(
        connector, lock_timeout=settings.emission_timeout, retry_delay=settings.retry_delay
    )


def build_order_facade(
    settings: Settings, orders: OrderRepository, client: UpstreamClient
) -> OrderFacade:
    """Return a facade of its parts; `client` calls the tax office."""
    printer = Printer(orders, settings.receipts_folder)
    tax_office = TaxOffice(orders, client)
    return OrderFacade(orders, printer, tax_office, settings.emission_timeout)


@asynccontextmanager
async def open_order_facade(
    settings: Settings, connector: PostgresConnector
) -> AsyncIterator[OrderFacade]:
    """Build a facade and all its parts, and close its connections at the end."""
    orders = build_order_repository(settings, connector)
    async with connect_tax_office(settings) as client:
        yield build_order_facade(settings, orders, client)
