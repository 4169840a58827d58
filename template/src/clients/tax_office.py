"""The tax office, with which receipts are registered."""

from time import monotonic
from typing import Annotated

import httpx2
from pydantic import BaseModel, ConfigDict, StringConstraints

from src.airtight import observe_calls
from src.clients.http import UpstreamClient, parse_response
from src.clients.orders import OrderRepository
from src.config import Settings
from src.models.order import Receipt
from src.utils.errors import (
    ReceiptEmissionFailedError,
    ReceiptEmissionRefusedError,
    TaxOfficeUnavailableError,
    UpstreamError,
    UpstreamResponseError,
    UpstreamUnreachableError,
)

UNAVAILABLE = (
    httpx2.codes.TOO_MANY_REQUESTS,
    httpx2.codes.BAD_GATEWAY,
    httpx2.codes.SERVICE_UNAVAILABLE,
    httpx2.codes.GATEWAY_TIMEOUT,
)


class Registration(BaseModel):
    """What the tax office sends back."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    registration: Annotated[
        str,
        StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    ]


class CircuitBreaker:
    """Spares a service that fails again and again, and those who would wait for it.

    Args:
        threshold: after how many failures in a row the circuit opens.
        pause: for how long, in seconds; then one call tries whether the service is back.
    """

    def __init__(self, threshold: int = 5, pause: float = 5.0) -> None:
        self._threshold = threshold
        self._pause = pause
        self._failures = 0
        self._open_until = 0.0

    def allows_call(self) -> bool:
        """Return whether the service may be called."""
        if self._failures < self._threshold:
            return True
        if monotonic() < self._open_until:
            return False
        self._open_until = monotonic() + self._pause
        return True

    def record_success(self) -> None:
        """Close the circuit."""
        self._failures = 0

    def record_failure(self) -> None:
        """Count a failure, which may open the circuit."""
        self._failures += 1
        self._open_until = monotonic() + self._pause


class TaxOffice:
    """Registers receipts over HTTP.

    Args:
        orders: where registered receipts are stored.
        client: of the tax office.
    """

    def __init__(self, orders: OrderRepository, client: UpstreamClient) -> None:
        self._orders = orders
        self._client = client
        self._circuit = CircuitBreaker()

    async def emit_receipt_note(self, receipt: Receipt) -> None:
        """Register a receipt; doing so again changes nothing.

        Raises:
            TaxOfficeUnavailableError: the tax office was not reached.
            ReceiptEmissionFailedError: it failed, and may succeed later.
            ReceiptEmissionRefusedError: it will not register this receipt.
        """
        if not self._circuit.allows_call():
            raise TaxOfficeUnavailableError(receipt.order_id, "circuit open")
        try:
            response = await self._register(receipt)
        except ReceiptEmissionFailedError:
            self._circuit.record_failure()
            raise
        self._circuit.record_success()
        try:
            registered = parse_response(response, Registration)
        except UpstreamResponseError as exc:
            raise ReceiptEmissionRefusedError(receipt.order_id, exc.reason) from exc
        await self._orders.store_receipt(receipt, registered.registration)

    async def _register(self, receipt: Receipt) -> httpx2.Response:
        key = {"Idempotency-Key": str(receipt.order_id)}  # with which it may be sent again
        content = receipt.model_dump(mode="json")
        try:
            response = await self._client.post("/receipts", json=content, headers=key)
        except UpstreamUnreachableError as exc:
            raise TaxOfficeUnavailableError(receipt.order_id, exc.reason) from exc
        except UpstreamError as exc:
            raise ReceiptEmissionFailedError(receipt.order_id, exc.reason) from exc
        reason = f"status {response.status_code}"
        if response.status_code in UNAVAILABLE:
            raise TaxOfficeUnavailableError(receipt.order_id, reason)
        if response.is_server_error:
            raise ReceiptEmissionFailedError(receipt.order_id, reason)
        return response


def connect_tax_office(settings: Settings) -> UpstreamClient:
    """Return a client of the tax office, which connects when it is used."""
    return UpstreamClient(
        str(settings.tax_office_url),
        timeout=settings.tax_office_timeout,
        observe=observe_calls(settings.request_id_header),
    )
