"""${Labels}: what is sent, stored and returned."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field

% for field in all_fields:
% if field.alias:
${field.alias} = ${field.definition}
% endif
% endfor
UNSENT: Any = Field(default_factory=lambda: None)  # so that OpenAPI shows no default


class New${Customer}(BaseModel, extra="forbid"):
    """${A} ${label} that somebody wants to add."""

% for field in required + optional:
    ${field.name}: ${field.annotation}${" = None" if field.optional else ""}
% endfor


class ${Customer}Changes(BaseModel, extra="forbid"):
    """What to change of ${a} ${label}; what is not sent stays as it is."""

% for field in fields:
    ${field.name}: ${field.annotation} = UNSENT
% endfor


class ${Customer}(New${Customer}, extra="ignore"):
    """${A} ${label} that is stored; its version grows with each change."""

    id: UUID
    created_at: datetime
    version: int
% for field in readonly:
    ${field.name}: ${field.annotation} = None
% endfor


class ${Customer}Page(BaseModel):
    """A part of the list of ${labels}, the newest first."""

    items: list[${Customer}]
    next_cursor: str | None = None
