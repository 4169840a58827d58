"""Orders in, receipts out."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response

from src.models.order import NewOrder, Order
from src.services.orders import OrderFacade

router = APIRouter(prefix="/orders", tags=["orders"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200, pattern="^[!-~]+$")]


@router.post("", status_code=201)
async def create_order(
    new: NewOrder, request: Request, response: Response, key: Key = None
) -> Order:
    """Keep an order, once for each idempotency key; a worker emits its receipt."""
    facade: OrderFacade = request.app.state.orders
    order = await facade.place(new, key)
    response.headers["Location"] = f"{router.prefix}/{order.id}"
    return order


@router.get("/{order_id}")
async def get_order(order_id: UUID, request: Request) -> Order:
    """Return an order with its status."""
    facade: OrderFacade = request.app.state.orders
    return await facade.get(order_id)


@router.post("/{order_id}/receipt", responses={202: {"description": "It is being emitted."}})
async def emit_receipt(order_id: UUID, request: Request, response: Response) -> dict[str, str]:
    """Emit the receipt of an order, unless that was done."""
    facade: OrderFacade = request.app.state.orders
    status = await facade.emit(order_id)
    response.status_code = 202 if status == "emitting" else 200
    return {"order_id": str(order_id), "order_status": status}
