"""The page that Prometheus reads."""

import secrets

from fastapi import APIRouter, Request, Response

from src.airtight import metrics
from src.utils.errors import WrongTokenError

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def scrape(request: Request) -> Response:
    """Ask the stores for a sign of life, and return all numbers; raises WrongTokenError."""
    readiness, token = request.app.state.readiness, request.app.state.settings.metrics_token
    if token:
        given, expected = (
            request.headers.get("authorization", ""),
            f"Bearer {token.get_secret_value()}",
        )
        if not secrets.compare_digest(given.encode(), expected.encode()):
            raise WrongTokenError
    text = metrics.render_metrics(readiness.stores, await readiness.check())
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
