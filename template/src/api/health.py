"""Whether the process is alive, and whether it can serve."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """Whether the service, and each store it needs, can do its work."""

    status: Literal["ok", "unavailable"] = "ok"
    stores: dict[str, bool] = {}


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> Health:
    """Tell that the process is alive, without asking anybody else."""
    return Health()


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses={503: {"model": Health, "description": "A store is away."}})
async def ready(request: Request, response: Response) -> Health:
    """Tell whether all stores answer."""
    stores: dict[str, bool] = await request.app.state.readiness.check()
    if all(stores.values()):
        return Health(stores=stores)
    response.status_code, response.headers["Retry-After"] = 503, "5"
    return Health(status="unavailable", stores=stores)
