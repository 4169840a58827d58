"""What the routes of resources share: pages of lists, and versions that guard changes."""

import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Header, Query, Response

PageLimit = Annotated[int, Query(ge=1, le=100, description="How many to return at most.")]
PageCursor = Annotated[
    str | None, Query(min_length=1, max_length=200, description="`next_cursor` of the page before.")
]
IfMatch = Annotated[str | None, Header(description="The `ETag` that must not have changed.")]
# A proxy that compresses makes `W/"1"` of `"1"`.
ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')
NO_VERSION = 0  # which no resource has


def link_next_page(response: Response, limit: int, cursor: str | None) -> None:
    """Name the next page, if there is one, in a `Link` header that is relative to this page."""
    if cursor:
        query = urlencode({"limit": limit, "cursor": cursor})
        response.headers["Link"] = f'<?{query}>; rel="next"'


def send_version(response: Response, version: int) -> None:
    """Send the version of a resource as its `ETag`, which `If-Match` takes."""
    response.headers["ETag"] = f'"{version}"'


async def expected_version(if_match: IfMatch = None) -> int | None:
    """Return the version that the client knows; None if any will do."""
    if if_match is None or if_match == "*":
        return None
    etag = ETAG.fullmatch(if_match)
    return int(etag[1]) if etag else NO_VERSION


ExpectedVersion = Annotated[int | None, Depends(expected_version)]
