"""${Labels} over HTTP."""

from uuid import UUID

from fastapi import APIRouter, Response

from src.airtight import raises
from src.api.dependencies import ${Customer}ServiceDep
from src.api.resources import (
    ExpectedVersion,
    PageCursor,
    PageLimit,
    link_next_page,
    send_version,
)
from src.models.${customer} import ${Customer}, ${Customer}Changes, ${Customer}Page, New${Customer}
from src.utils.errors import (
% for error in errors:
    ${error.name},
% endfor
    InvalidCursorError,
)

router = APIRouter(prefix="/${customers}", tags=["${customers}"])
% if write_errors:
WRITE_ERRORS = (
% for error in write_errors:
    ${error.name},
% endfor
)
% endif


@router.post("", status_code=201${", responses=raises(*WRITE_ERRORS)" if write_errors else ""})
async def create_${customer}(
    new: New${Customer}, service: ${Customer}ServiceDep, response: Response
) -> ${Customer}:
    """Add ${a} ${label}."""
    ${customer} = await service.add(new)
    response.headers["Location"] = f"{router.prefix}/{${customer}.id}"
    send_version(response, ${customer}.version)
    return ${customer}


@router.get("", responses=raises(InvalidCursorError))
async def list_${customers}(
    service: ${Customer}ServiceDep,
    response: Response,
    limit: PageLimit = 20,
    cursor: PageCursor = None,
) -> ${Customer}Page:
    """Return a page of ${labels}, the newest first."""
    page = await service.list_page(limit, cursor)
    link_next_page(response, limit, page.next_cursor)
    return page


@router.get("/{${customer}_id}", responses=raises(${Customer}NotFoundError))
async def get_${customer}(
    ${customer}_id: UUID, service: ${Customer}ServiceDep, response: Response
) -> ${Customer}:
    """Return ${a} ${label}."""
    ${customer} = await service.get(${customer}_id)
    send_version(response, ${customer}.version)
    return ${customer}


@router.patch(
    "/{${customer}_id}",
    responses=raises(${Customer}NotFoundError, Stale${Customer}Error${", *WRITE_ERRORS" if write_errors else ""}),
)
async def update_${customer}(
    ${customer}_id: UUID,
    changes: ${Customer}Changes,
    service: ${Customer}ServiceDep,
    response: Response,
    version: ExpectedVersion,
) -> ${Customer}:
    """Change what is sent of ${a} ${label}, and nothing else."""
    ${customer} = await service.update(${customer}_id, changes, version)
    send_version(response, ${customer}.version)
    return ${customer}


@router.delete(
    "/{${customer}_id}",
    status_code=204,
    responses=raises(${Customer}NotFoundError, Stale${Customer}Error, ${Customer}InUseError),
)
async def delete_${customer}(
    ${customer}_id: UUID, service: ${Customer}ServiceDep, version: ExpectedVersion
) -> None:
    """Delete ${a} ${label}."""
    await service.delete(${customer}_id, version)
