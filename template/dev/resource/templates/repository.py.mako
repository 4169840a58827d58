"""The ${labels} in PostgreSQL."""

from typing import NoReturn
from uuid import UUID, uuid4

import asyncpg

from src.connectors.postgres import Executor, Violations, translate_violations
from src.models.${customer} import ${Customer}, ${Customer}Changes, New${Customer}
from src.models.page import Cursor
from src.utils.errors import (
% for error in errors:
    ${error.name},
% endfor
)

INSERT_${CUSTOMER} = """
    INSERT INTO ${table} (
        id,
% for field in fields[:-1]:
        ${field.column},
% endfor
        ${fields[-1].column}
    )
    VALUES (${placeholders})
    RETURNING *
"""
SELECT_${CUSTOMER} = "SELECT * FROM ${escaped_table} WHERE id = $1"
# The index on both columns leads to the first row of a page, however far down the list it is.
SELECT_${CUSTOMERS} = """
    SELECT * FROM ${table}
    WHERE (created_at, id) < (coalesce($2::timestamptz, 'infinity'), $3::uuid)
    ORDER BY created_at DESC, id DESC
    LIMIT $1
"""
# What the JSON object does not hold stays as it is in the row.
UPDATE_${CUSTOMER} = """
    UPDATE ${table} SET
        version = version + 1,
        (
% for field in fields[:-1]:
            ${field.column},
% endfor
            ${fields[-1].column}
        ) = (
            SELECT
% for field in fields[:-1]:
                changed.${field.column},
% endfor
                changed.${fields[-1].column}
            FROM jsonb_populate_record(${table}.*, $3::jsonb) AS changed
        )
    WHERE id = $1
    AND ($2::integer IS NULL OR version = $2)
    RETURNING *
"""
DELETE_${CUSTOMER} = """
    DELETE FROM ${table}
    WHERE id = $1
    AND ($2::integer IS NULL OR version = $2)
    RETURNING id
"""
% if unique or references:
WRITE_ERRORS: Violations = {
% if unique:
    asyncpg.UniqueViolationError: ${Customer}AlreadyExistsError,
% endif
% if references:
    asyncpg.ForeignKeyViolationError: ${Customer}ReferenceError,
% endif
}
% endif
DELETE_ERRORS: Violations = {asyncpg.ForeignKeyViolationError: ${Customer}InUseError}


class ${Customer}Repository:
    """Stores ${labels} and finds them again; raises what the connector raises.

    Args:
        database: the connector, or a connection within a transaction.
    """

    def __init__(self, database: Executor) -> None:
        self._database = database

    async def add(self, new: New${Customer}) -> ${Customer}:
% if unique or references:
        """Store ${a} ${label}.

        Raises:
% if unique:
            ${Customer}AlreadyExistsError: Another one has a value that must be unique.
% endif
% if references:
            ${Customer}ReferenceError: What it refers to does not exist.
% endif
        """
% else:
        """Store ${a} ${label}."""
% endif
% if unique or references:
        with translate_violations(WRITE_ERRORS):
            row = await self._database.fetchrow(
                INSERT_${CUSTOMER},
                uuid4(),
% for field in fields:
                new.${field.name},
% endfor
            )
% else:
        row = await self._database.fetchrow(
            INSERT_${CUSTOMER},
            uuid4(),
% for field in fields:
            new.${field.name},
% endfor
        )
% endif
        return ${Customer}(**row)

    async def get(self, ${customer}_id: UUID) -> ${Customer}:
        """Return ${a} ${label}; raises ${Customer}NotFoundError."""
        row = await self._database.fetchrow(SELECT_${CUSTOMER}, ${customer}_id)
        if row is None:
            raise ${Customer}NotFoundError(${customer}_id)
        return ${Customer}(**row)

    async def list_newest(self, limit: int, after: Cursor | None) -> list[${Customer}]:
        """Return the newest ${labels}, or those that come after a place in the list."""
        place = (after.created_at, after.id) if after else (None, None)
        rows = await self._database.fetch(SELECT_${CUSTOMERS}, limit, *place)
        return [${Customer}(**row) for row in rows]

    async def update(
        self, ${customer}_id: UUID, changes: ${Customer}Changes, version: int | None
    ) -> ${Customer}:
        """Change what was sent of ${a} ${label}, and return the result.

        Args:
            ${customer}_id: of the ${label}.
            changes: what was sent.
            version: that it must have; None for any.

        Raises:
            ${Customer}NotFoundError: There is no such ${label}.
            Stale${Customer}Error: It has another version.
% if unique:
            ${Customer}AlreadyExistsError: Another one has a value that must be unique.
% endif
% if references:
            ${Customer}ReferenceError: What it refers to does not exist.
% endif
        """
        sent = changes.model_dump_json(exclude_unset=True)
% if unique or references:
        with translate_violations(WRITE_ERRORS):
            row = await self._database.fetchrow(UPDATE_${CUSTOMER}, ${customer}_id, version, sent)
% else:
        row = await self._database.fetchrow(UPDATE_${CUSTOMER}, ${customer}_id, version, sent)
% endif
        if row is None:
            await self._refuse(${customer}_id)
        return ${Customer}(**row)

    async def delete(self, ${customer}_id: UUID, version: int | None) -> None:
        """Delete ${a} ${label}.

        Args:
            ${customer}_id: of the ${label}.
            version: that it must have; None for any.

        Raises:
            ${Customer}NotFoundError: There is no such ${label}.
            Stale${Customer}Error: It has another version.
            ${Customer}InUseError: Something else refers to it.
        """
        with translate_violations(DELETE_ERRORS):
            row = await self._database.fetchrow(DELETE_${CUSTOMER}, ${customer}_id, version)
        if row is None:
            await self._refuse(${customer}_id)

    async def _refuse(self, ${customer}_id: UUID) -> NoReturn:
        """Say why there was no row to write: none with this id, or none with this version."""
        await self.get(${customer}_id)
        raise Stale${Customer}Error(${customer}_id)
