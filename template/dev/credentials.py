"""What `make dev` and `make request` need so that the service knows who calls."""

from dev import (
    # copier: if auth == "api_key"
    api_keys,
    # copier: endif
    # copier: if auth == "jwt"
    issuer,
    # copier: endif
)


def headers() -> dict[str, str]:
    """Return the headers by which the developer is known."""
    found: dict[str, str] = {}
    # copier: if auth == "api_key"
    found["X-API-Key"] = api_keys.developer_key()
    # copier: endif
    # copier: if auth == "jwt"
    found["Authorization"] = f"Bearer {issuer.developer_token()}"
    # copier: endif
    return found
