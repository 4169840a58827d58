"""The tax office, with which receipts are registered."""

from time import monotonic

import httpx2

from src.clients.orders import OrderRepository
from src.models.order import Receipt
from src.utils.errors import ReceiptEmissionFailedError, ReceiptEmissionRefusedError

FAILURES, PAUSE = (
    5,
    5.0,
)  # after so many in a row the circuit is open for so many seconds: nobody is asked


class TaxOffice:
    """Registers receipts over HTTP."""

    def __init__(self, orders: OrderRepository, http: httpx2.AsyncClient) -> None:
        self._orders, self._http = orders, http
        self._failures, self._open_until = 0, 0.0

    async def emit_receipt_note(self, receipt: Receipt) -> None:
        """Register a receipt, once however often this is done; raises ReceiptEmissionFailedError."""
        if monotonic() < self._open_until:
            raise ReceiptEmissionFailedError(receipt.order_id, "circuit open")
        reason, cause = "", None
        for _ in range(2):  # the key makes it safe to ask again where the answer was lost
            try:
                key = {"Idempotency-Key": str(receipt.order_id)}
                response = await self._http.post(
                    "/receipts", json=receipt.model_dump(mode="json"), headers=key
                )
            except httpx2.RequestError as exc:
                reason, cause = type(exc).__name__, exc
                continue
            if (
                response.status_code < 500
                and response.status_code != httpx2.codes.TOO_MANY_REQUESTS
            ):
                break
            reason, cause = f"status {response.status_code}", None
        else:
            self._failures += 1
            self._open_until = monotonic() + PAUSE if self._failures >= FAILURES else 0
            raise ReceiptEmissionFailedError(receipt.order_id, reason) from cause
        self._failures = 0
        try:
            registration = str(response.raise_for_status().json()["registration"])
        except (httpx2.HTTPStatusError, ValueError, KeyError, TypeError) as exc:
            raise ReceiptEmissionRefusedError(
                receipt.order_id, f"status {response.status_code}"
            ) from exc
        await self._orders.emitted(receipt, registration)
