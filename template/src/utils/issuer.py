"""Types of the settings by which tokens are verified."""

from typing import Annotated, Literal

from pydantic import Field, HttpUrl
from pydantic_settings import NoDecode

from src.utils.setting_types import Separated

# Each has a private key, which the issuer alone has; with a shared secret each verifier could sign.
Algorithm = Literal[
    "ES256", "ES384", "ES512", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"
]
Algorithms = Annotated[list[Algorithm], Field(min_length=1), NoDecode, Separated]
Leeway = Annotated[int, Field(ge=0, le=300)]
Name = Annotated[str, Field(min_length=1, max_length=1_000)]
# Of the issuer that `make dev` runs; production refuses it.
DEVELOPMENT_ISSUER = "https://issuer.invalid/development"
DEVELOPMENT_KEYS = HttpUrl("http://127.0.0.1:8002/keys")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def find_weak_issuer(issuer: str, keys: HttpUrl) -> str | None:
    """Return why tokens of this issuer prove nothing in production; None if they do."""
    if issuer == DEVELOPMENT_ISSUER:
        return "jwt_issuer: it is the one of `make dev`; set it, JWT_AUDIENCE and JWT_JWKS_URL"
    if keys.scheme != "https" and keys.host not in LOOPBACK:
        return "jwt_jwks_url: it needs https, else who is in between could send keys of his own"
    return None
