"""Orders in, receipts out."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Response

from src.airtight import raises, trace_headers
from src.api.dependencies import CorrelationId, OrderFacadeDep
from src.models.order import Emission, NewOrder, Order, Origin
from src.utils.errors import (
    OrderConflictError,
    OrderEmissionTimeoutError,
    OrderNotFoundError,
    ReceiptGenerationFailedError,
    TaxOfficeUnavailableError,
)

router = APIRouter(prefix="/orders", tags=["orders"])
IN_PROGRESS: dict[int | str, dict[str, Any]] = {
    202: {"description": "It is being emitted."},
}
EMISSION_ERRORS = (
    OrderNotFoundError,
    OrderEmissionTimeoutError,
    ReceiptGenerationFailedError,
    TaxOfficeUnavailableError,
)


async def request_origin(correlation_id: CorrelationId) -> Origin:
    """Return what an order must know of the request that it comes from."""
    return Origin(correlation_id, trace_headers().get("traceparent"))


RequestOrigin = Annotated[Origin, Depends(request_origin)]
IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", max_length=200, pattern="^[!-~]+$")
]


@router.post("", status_code=201, responses=raises(OrderConflictError))
async def create_order(
    new: NewOrder,
    response: Response,
    orders: OrderFacadeDep,
    origin: RequestOrigin,
    idempotency_key: IdempotencyKey = None,
) -> Order:
    """Store an order, one for each idempotency key; a worker emits its receipt."""
    order = await orders.place(new, idempotency_key, origin)
    response.headers["Location"] = f"{router.prefix}/{order.id}"
    return order


@router.get("/{order_id}", responses=raises(OrderNotFoundError))
async def get_order(order_id: UUID, orders: OrderFacadeDep) -> Order:
    """Return an order with its status."""
    return await orders.get(order_id)


@router.post("/{order_id}/receipt", responses=IN_PROGRESS | raises(*EMISSION_ERRORS))
async def emit_receipt(order_id: UUID, orders: OrderFacadeDep, response: Response) -> Emission:
    """Emit the receipt of an order, unless that is done."""
    status = await orders.emit(order_id)
    if status == "emitting":
        response.status_code = 202
    return Emission(order_id=order_id, order_status=status)
