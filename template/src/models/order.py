"""Orders, and the receipts that follow."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

Status = Literal["new", "emitting", "emitted"]


class Item(BaseModel, extra="forbid"):
    """So many of one thing, each at this price."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
    quantity: int = Field(ge=1, le=1000)
    price: Decimal = Field(ge=0, le=100_000, decimal_places=2, examples=["3.50"])


class NewOrder(BaseModel, extra="forbid"):
    """What someone wants to buy."""

    items: list[Item] = Field(min_length=1, max_length=100)


class Order(NewOrder, extra="ignore"):
    """An order that is stored."""

    id: UUID
    created_at: datetime
    status: Status


class Receipt(BaseModel):
    """What is printed, and registered at the tax office."""

    order_id: UUID
    total: Decimal
    text: str


class Emission(BaseModel):
    """What has become of the receipt of an order."""

    order_id: UUID
    order_status: Status


@dataclass(frozen=True)
class Origin:
    """The request that an order comes from, which its emission belongs to as well.

    Attributes:
        correlation_id: of the request.
        traceparent: of the request, by W3C Trace Context, where it is traced.
    """

    correlation_id: str | None
    traceparent: str | None = None


@dataclass(frozen=True)
class EmissionLock:
    """The right to emit the receipt of an order, for a limited time.

    Attributes:
        order_id: of the order.
        since: tells this lock from that of a worker which takes the order over.
    """

    order_id: UUID
    since: datetime
