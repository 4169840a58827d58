"""Places in lists, after which a page begins."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from src.utils.errors import InvalidCursorError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Cursor:
    """The place of a row in a list with the newest rows first.

    Other than a number of rows it stays in place while rows are added or deleted.

    Attributes:
        created_at: of the row.
        id: of the row, which decides among those of the same time.
    """

    created_at: datetime
    id: UUID

    def encode(self) -> str:
        """Return it as clients see it: opaque, so that its meaning can change."""
        age = (self.created_at - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(f"{age}.{self.id}".encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the cursor that a client sends back; raises InvalidCursorError."""
        try:
            age, _, row_id = base64.urlsafe_b64decode(text).decode().partition(".")
            return cls(EPOCH + int(age) * MICROSECOND, UUID(row_id))
        except (ValueError, OverflowError) as exc:
            raise InvalidCursorError from exc
