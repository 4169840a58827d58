"""What routes get by `Depends`; in tests, `app.dependency_overrides` replaces it."""

from typing import Annotated

from fastapi import Depends, Request

from src.airtight import get_correlation_id
from src.config import Settings
from src.services import (
    # copier: if example == "decisions"
    decisions,
    # copier: endif
    # copier: if example == "orders"
    orders,
    # copier: endif
    readiness,
)


async def get_settings(request: Request) -> Settings:
    """Return the service's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def get_readiness(request: Request) -> readiness.Readiness:
    """Return what knows whether the stores can be used."""
    state: readiness.Readiness = request.app.state.readiness
    return state


# copier: if example == "decisions"
async def get_decision_service(request: Request) -> decisions.DecisionService:
    """Return the use cases of decisions."""
    service: decisions.DecisionService = request.app.state.decisions
    return service


# copier: endif
# copier: if example == "orders"
async def get_order_facade(request: Request) -> orders.OrderFacade:
    """Return the use cases of orders."""
    facade: orders.OrderFacade = request.app.state.orders
    return facade


# copier: endif
async def correlation_id() -> str | None:
    """Return the id of the request."""
    return get_correlation_id()


CorrelationId = Annotated[str | None, Depends(correlation_id)]
ReadinessDep = Annotated[readiness.Readiness, Depends(get_readiness)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
# copier: if example == "decisions"
DecisionServiceDep = Annotated[decisions.DecisionService, Depends(get_decision_service)]
# copier: endif
# copier: if example == "orders"
OrderFacadeDep = Annotated[orders.OrderFacade, Depends(get_order_facade)]
# copier: endif
