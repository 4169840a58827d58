"""The page that Prometheus reads."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response

from src.airtight.metrics import render_metrics, watch_pools
from src.api.dependencies import ReadinessDep, SettingsDep
from src.utils.errors import WrongTokenError

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep the gauges of this worker's pools up to date, since another may be scraped."""
    watch_pools(app.state.readiness.stores)
    yield


router = APIRouter(include_in_schema=False, lifespan=lifespan)


@router.get("/metrics")
async def scrape(request: Request, settings: SettingsDep, readiness: ReadinessDep) -> Response:
    """Ping the stores, and return all metrics; raises WrongTokenError."""
    if settings.metrics_token:
        require_token(request, settings.metrics_token.get_secret_value())
    text = render_metrics(readiness.stores, await readiness.check())
    return Response(text, media_type=MEDIA_TYPE)


def require_token(request: Request, token: str) -> None:
    """Check the bearer token of a request; raises WrongTokenError."""
    received = request.headers.get("authorization", "")
    expected = f"Bearer {token}"
    if not secrets.compare_digest(received.encode(), expected.encode()):
        raise WrongTokenError
