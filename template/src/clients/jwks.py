"""The public keys of the issuer of tokens, as a JSON Web Key Set (RFC 7517)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, HttpUrl, ValidationError

from src.airtight import observe_calls
from src.clients.http import UpstreamClient, parse_response
from src.config import Settings

MAX_SIZE = 200_000  # bytes
MAX_KEYS = 100


class Key(BaseModel):
    """A public key; what else an issuer says of it is left out, a private part as well."""

    kty: Literal["EC", "OKP", "RSA"]
    kid: str | None = None
    alg: str | None = None
    use: Literal["sig"] = "sig"
    crv: str | None = None
    x: str | None = None
    y: str | None = None
    n: str | None = None
    e: str | None = None


class KeySet(BaseModel):
    """What an issuer sends."""

    keys: Annotated[list[dict[str, Any]], Field(max_length=MAX_KEYS)]


class JwksClient:
    """Fetches the keys of an issuer.

    Args:
        client: of the host that has them.
        url: of the keys.

    Attributes:
        host: has the keys.
    """

    def __init__(self, client: UpstreamClient, url: HttpUrl) -> None:
        self.host = url.host or ""
        self._client = client
        self._url = str(url)

    async def fetch(self) -> list[Key]:
        """Return the keys that are for signatures, and of a kind that is known here.

        Raises:
            UpstreamError: the issuer cannot be reached, or sends something else.
        """
        response = await self._client.get(self._url)
        found: list[Key] = []
        for key in parse_response(response, KeySet).keys:
            try:
                found.append(Key.model_validate(key))
            except ValidationError:
                continue
        return found


def connect_issuer(settings: Settings) -> UpstreamClient:
    """Return a client of the issuer, which connects when it is used."""
    return UpstreamClient(
        str(settings.jwt_jwks_url),
        timeout=settings.jwt_timeout,
        max_response_size=MAX_SIZE,
        observe=observe_calls(settings.request_id_header),
    )
