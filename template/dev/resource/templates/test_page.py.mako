"""A cursor comes back as it was, and what is no cursor is refused."""

import base64
from datetime import UTC, datetime
from uuid import UUID

import pytest

from src.models.page import Cursor
from src.utils.errors import InvalidCursorError

CURSOR = Cursor(datetime(2026, 1, 31, 12, 30, 0, 123456, tzinfo=UTC), UUID(int=7))


def encode(text: str) -> str:
    """Return a text in the alphabet of cursors."""
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_cursor_comes_back_as_it_was() -> None:
    """Its text is safe in a URL, and keeps the microseconds."""
    text = CURSOR.encode()
    assert text.strip("=").replace("-", "").replace("_", "").isalnum()
    assert Cursor.decode(text) == CURSOR


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "\N{SNOWMAN}",
        "====",
        encode(""),
        encode("7"),
        encode("7.x"),
        encode(f".{CURSOR.id}"),
        encode(f"{10**30}.{CURSOR.id}"),
        base64.urlsafe_b64encode(b"\xff\xfe\xff").decode(),
    ],
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    """Whatever a client sends that no page names is a 400."""
    with pytest.raises(InvalidCursorError) as caught:
        Cursor.decode(text)
    assert caught.value.status_code == 400
