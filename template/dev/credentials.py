"""What `make dev` and `make request` need so that the service knows who calls."""

import os

from dev import (
    # copier: if auth == "api_key"
    api_keys,
    # copier: endif
)


def headers() -> dict[str, str]:
    """Return the headers by which the developer is known."""
    found: dict[str, str] = {}
    # copier: if auth == "api_key"
    found["X-API-Key"] = os.environ.get("API_KEY") or api_keys.developer_key()
    # copier: endif
    return found
