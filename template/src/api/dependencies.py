"""What routes get by `Depends`."""

from typing import Annotated

from fastapi import Depends

from src.airtight.context import get_correlation_id


async def correlation_id() -> str | None:
    """Return the id of the request."""
    return get_correlation_id()


CorrelationId = Annotated[str | None, Depends(correlation_id)]
