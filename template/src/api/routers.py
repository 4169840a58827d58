"""The routers, in the order in which a request is compared with their routes."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from src.api import (
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


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function, by which generated clients call it."""
    return route.name
