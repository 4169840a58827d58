"""The printer: a folder of text files."""

import asyncio
import os
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile
from uuid import UUID

from src.clients.orders import OrderRepository
from src.models.order import Receipt
from src.utils.errors import ReceiptGenerationFailedError


class Printer:
    """Prints receipts of orders into a folder, each once."""

    def __init__(self, orders: OrderRepository, folder: Path) -> None:
        self._orders, self._folder = orders, folder

    async def create(self, order_id: UUID) -> Receipt:
        """Print the receipt of an order; raises ReceiptGenerationFailedError."""
        order = await self._orders.get(order_id)
        total = sum((item.quantity * item.price for item in order.items), Decimal())
        lines = [f"{item.quantity:5} x {item.price:10.2f}  {item.name}" for item in order.items]
        text = [
            f"Order {order.id} of {order.created_at:%Y-%m-%d %H:%M} UTC",
            *lines,
            f"Total   {total:10.2f}",
            "",
        ]
        receipt = Receipt(order_id=order.id, total=total, text="\n".join(text))
        await asyncio.to_thread(self._print, receipt)
        return receipt

    def _print(self, receipt: Receipt) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile("w", dir=self._folder, prefix=".", encoding="utf-8") as file:
                file.write(receipt.text)
                file.flush()
                os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(file.name, self._folder / f"{receipt.order_id}.txt")
        except OSError as exc:
            raise ReceiptGenerationFailedError(receipt.order_id) from exc
