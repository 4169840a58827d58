"""What routes get by `Depends`."""

from typing import Annotated

from fastapi import Depends

# copier: if example == "orders"
from starlette.requests import Request

# copier: endif
from src.airtight.context import get_correlation_id

# copier: if example == "orders" and "opentelemetry" in observability
from src.airtight.tracing import traceparent

# copier: endif
# copier: if example == "orders"
from src.models.order import Origin
from src.services.orders import OrderFacade

# copier: endif


async def correlation_id() -> str | None:
    """Return the id of the request."""
    return get_correlation_id()


CorrelationId = Annotated[str | None, Depends(correlation_id)]


# copier: if example == "orders"
async def request_origin(correlation_id: CorrelationId) -> Origin:
    """Return what an order must know of the request that it comes from."""
    # copier: if "opentelemetry" in observability
    return Origin(correlation_id, traceparent())
    # copier: endif
    # copier: if "opentelemetry" not in observability
    return Origin(correlation_id)
    # copier: endif


async def order_facade(request: Request) -> OrderFacade:
    """Return the service's facade of orders."""
    facade: OrderFacade = request.app.state.orders
    return facade


RequestOrigin = Annotated[Origin, Depends(request_origin)]
Orders = Annotated[OrderFacade, Depends(order_facade)]
# copier: endif
