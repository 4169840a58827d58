"""Whether the process is alive, and whether it can serve."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from src.api.dependencies import ReadinessDep

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """Whether the service, and each store it needs, can do its work."""

    status: Literal["ok", "unavailable"] = "ok"
    stores: dict[str, bool] = {}


@router.head("/live", include_in_schema=False)
@router.get("/live")
async def live() -> Health:
    """Say that the process is alive; no store is pinged."""
    return Health()


# copier: if "kubernetes" in deploy and stores
@router.head("/started", include_in_schema=False)
@router.get("/started", responses={503: {"model": Health, "description": "It still starts."}})
async def started(readiness: ReadinessDep, response: Response) -> Health:
    """Say whether all stores could be used at some time since the start.

    It stays so in an outage, so that a store that all replicas share takes none of them out.
    """
    if readiness.has_passed:
        return Health()
    return await ready(readiness, response)


# copier: endif
@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses={503: {"model": Health, "description": "A store is unavailable."}})
async def ready(readiness: ReadinessDep, response: Response) -> Health:
    """Say whether all stores can be used."""
    stores = await readiness.check()
    if all(stores.values()):
        return Health(stores=stores)
    response.status_code = 503
    response.headers["Retry-After"] = "5"
    return Health(status="unavailable", stores=stores)
