"""Orders, and the emission of their receipts."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from src.airtight.context import current_context
from src.airtight.logging import report_exception
from src.clients.http import http_client
from src.clients.orders import OrderRepository
from src.clients.printer import Printer
from src.clients.tax_office import TaxOffice
from src.config import Settings
from src.models.order import NewOrder, Order
from src.utils.errors import OrderAlreadyEmittedError, OrderAlreadyInProgressError

logger = logging.getLogger(__name__)


class OrderFacade:
    """All that is done with orders, by the API and by workers alike."""

    def __init__(
        self, status_service: OrderRepository, receipt_service: Printer, broker: TaxOffice
    ) -> None:
        self._status_service, self._receipt_service, self._broker = (
            status_service,
            receipt_service,
            broker,
        )

    async def place(self, new: NewOrder, key: str | None) -> Order:
        """Keep an order, once for each idempotency key; raises OrderConflictError."""
        context = current_context.get()
        order = await self._status_service.add(
            new, key, context.correlation_id if context else None
        )
        logger.info("order stored", extra={"order_id": order.id})
        return order

    async def get(self, order_id: UUID) -> Order:
        """Return an order; raises OrderNotFoundError."""
        return await self._status_service.get(order_id)

    async def emit(self, order_id: UUID) -> str:
        """Emit the receipt of an order, unless that was done or is being done; raises OrderError."""
        try:
            since = await self._status_service.ensure_order_unlocked(order_id)
        except (OrderAlreadyInProgressError, OrderAlreadyEmittedError) as exc:
            report_exception(exc)
            return exc.order_status
        try:
            receipt = await self._receipt_service.create(order_id)
            await self._broker.emit_receipt_note(receipt)
        except BaseException:
            await self._status_service.release(order_id, since)
            raise
        return await self._status_service.get_order_status(order_id)


@asynccontextmanager
async def order_facade(settings: Settings, orders: OrderRepository) -> AsyncIterator[OrderFacade]:
    """Give a facade of its parts."""
    url, header = str(settings.tax_office_url), settings.request_id_header
    async with http_client(url, header, settings.tax_office_timeout) as http:
        yield OrderFacade(
            orders, Printer(orders, settings.receipts_folder), TaxOffice(orders, http)
        )
