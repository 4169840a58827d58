"""The routers, in the order in which a request is compared with their routes."""

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from src.api import (
    # copier: if auth != "none"
    authentication,
    # copier: endif
    # copier: if example == "decisions"
    decisions,
    # copier: endif
    docs,
    health,
    # copier: if "prometheus" in observability
    metrics,
    # copier: endif
    # copier: if example == "orders"
    orders,
    # copier: endif
)

ROUTERS: list[APIRouter] = [
    # copier: if example == "decisions"
    decisions.router,
    # copier: endif
    # copier: if example == "orders"
    orders.router,
    # copier: endif
    # Last, since a request is compared with all routes before its own.
    health.router,
    docs.router,
    # copier: if "prometheus" in observability
    metrics.router,
    # copier: endif
]


# copier: if auth != "none"
# Anybody may call these; the others need a caller who is known.
OPEN_ROUTERS: list[APIRouter] = [
    health.router,
    docs.router,
    # copier: if "prometheus" in observability
    metrics.router,
    # copier: endif
]


# copier: endif
def include_routers(app: FastAPI) -> None:
    """Make the routes of all routers part of an application."""
    for router in ROUTERS:
        # copier: if auth != "none"
        if router not in OPEN_ROUTERS:
            authentication.include_protected(app, router)
            continue
        # copier: endif
        app.include_router(router)


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function, by which generated clients call it."""
    return route.name
