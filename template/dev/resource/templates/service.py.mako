"""What is done with ${labels}."""

import logging
from uuid import UUID

from src.clients.${customers} import ${Customer}Repository
from src.connectors.postgres import PostgresConnector
from src.models.${customer} import ${Customer}, ${Customer}Changes, ${Customer}Page, New${Customer}
from src.models.page import Cursor

logger = logging.getLogger(__name__)


class ${Customer}Service:
    """Adds, finds, changes and deletes ${labels}.

    Args:
        repository: where they are stored.
    """

    def __init__(self, repository: ${Customer}Repository) -> None:
        self._repository = repository

    async def add(self, new: New${Customer}) -> ${Customer}:
% if unique or references:
        """Add ${a} ${label}; raises what `${Customer}Repository.add` raises."""
% else:
        """Add ${a} ${label}."""
% endif
        ${customer} = await self._repository.add(new)
        logger.info("${label} added", extra={"${customer}_id": ${customer}.id})
        return ${customer}

    async def get(self, ${customer}_id: UUID) -> ${Customer}:
        """Return ${a} ${label}; raises ${Customer}NotFoundError."""
        return await self._repository.get(${customer}_id)

    async def list_page(self, limit: int, cursor: str | None) -> ${Customer}Page:
        """Return a page of the list, the newest ${labels} first; raises InvalidCursorError.

        Args:
            limit: of the number of ${labels}.
            cursor: from the page before; None for the first page.
        """
        after = Cursor.decode(cursor) if cursor else None
        # One more than wanted, which shows whether there is another page.
        found = await self._repository.list_newest(limit + 1, after)
        items = found[:limit]
        if len(found) == len(items):
            return ${Customer}Page(items=items)
        last = Cursor(items[-1].created_at, items[-1].id)
        return ${Customer}Page(items=items, next_cursor=last.encode())

    async def update(
        self, ${customer}_id: UUID, changes: ${Customer}Changes, version: int | None
    ) -> ${Customer}:
        """Change what was sent of ${a} ${label} of this version; None stands for any.

        Raises what `${Customer}Repository.update` raises.
        """
        ${customer} = await self._repository.update(${customer}_id, changes, version)
        logger.info("${label} changed", extra={"${customer}_id": ${customer}_id})
        return ${customer}

    async def delete(self, ${customer}_id: UUID, version: int | None) -> None:
        """Delete ${a} ${label} of this version; None stands for any.

        Raises what `${Customer}Repository.delete` raises.
        """
        await self._repository.delete(${customer}_id, version)
        logger.info("${label} deleted", extra={"${customer}_id": ${customer}_id})


def build_${customer}_service(postgres: PostgresConnector) -> ${Customer}Service:
    """Build the service of its parts."""
    return ${Customer}Service(${Customer}Repository(postgres))
