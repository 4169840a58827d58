"""The printer: a folder of text files."""

import asyncio
import os
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile
from uuid import UUID

from src.clients.orders import OrderRepository
from src.models.order import Order, Receipt
from src.utils.errors import ReceiptGenerationFailedError


class Printer:
    """Prints receipts of orders into a folder, and never overwrites one.

    Args:
        orders: where the orders are.
        folder: where the receipts go; all workers need the same.
    """

    def __init__(self, orders: OrderRepository, folder: Path) -> None:
        self._orders = orders
        self._folder = folder

    async def create(self, order_id: UUID) -> Receipt:
        """Print the receipt of an order; raises ReceiptGenerationFailedError."""
        order = await self._orders.get(order_id)
        receipt = _to_receipt(order)
        await asyncio.to_thread(self._print, receipt)
        return receipt

    def _print(self, receipt: Receipt) -> None:
        path = self._folder / f"{receipt.order_id}.txt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile("w", dir=self._folder, prefix=".", encoding="utf-8") as file:
                file.write(receipt.text)
                file.flush()
                os.fsync(file.fileno())
                # A link appears with all of its text, whenever the process is killed.
                with suppress(FileExistsError):
                    os.link(file.name, path)
        except OSError as exc:
            raise ReceiptGenerationFailedError(receipt.order_id) from exc


def _to_receipt(order: Order) -> Receipt:
    total = sum((item.quantity * item.price for item in order.items), Decimal())
    lines = [f"{item.quantity:5} x {item.price:10.2f}  {item.name}" for item in order.items]
    text = [
        f"Order {order.id} of {order.created_at:%Y-%m-%d %H:%M} UTC",
        *lines,
        f"Total   {total:10.2f}",
        "",
    ]
    return Receipt(order_id=order.id, total=total, text="\n".join(text))
