"""Tokens (JWT, RFC 7519): who calls, as an issuer has signed it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import jwt
from jwt import exceptions
from pydantic import BaseModel, Field, ValidationError

from src.clients.jwks import JwksClient, connect_issuer
from src.config import Settings, refuse
from src.services.callers import Principal
from src.services.issuer_keys import IssuerKeys
from src.services.readiness import OutageLog
from src.utils.errors import InvalidTokenError
from src.utils.issuer import find_weak_issuer

# Of a class and of those below it; the first one that fits says what is wrong.
REASONS: dict[type[Exception], str] = {
    exceptions.ExpiredSignatureError: "expired",
    exceptions.ImmatureSignatureError: "not valid yet",
    exceptions.InvalidAudienceError: "for another audience",
    exceptions.InvalidIssuerError: "of another issuer",
    exceptions.InvalidAlgorithmError: "an algorithm that is not allowed",
    exceptions.InvalidSignatureError: "a wrong signature",
    exceptions.MissingRequiredClaimError: "a claim is missing",
}
# Of these the library makes errors of its own, but not of all that a token can hold.
MALFORMED = (exceptions.PyJWTError, RecursionError, ValueError, TypeError)
Scopes = str | list[str]


class Claims(BaseModel):
    """What a token says that matters here.

    Attributes:
        sub: the subject.
        scope: what the caller may do, with spaces between (RFC 8693).
        scp: the same by another name, which some issuers have.
    """

    sub: Annotated[str, Field(min_length=1, max_length=255)]
    scope: Scopes = ""
    scp: Scopes = ""

    def split_scopes(self) -> frozenset[str]:
        """Return the scopes, of both names."""
        return frozenset([*split(self.scope), *split(self.scp)])


def split(scopes: Scopes) -> list[str]:
    """Return scopes one by one."""
    return scopes.split() if isinstance(scopes, str) else scopes


class AccessTokens:
    """Knows callers by the tokens of an issuer.

    Args:
        keys: of the issuer.
        algorithms: by which tokens may be signed.
        issuer: the name of the issuer.
        audience: for whom tokens have to be.
        leeway: by how many seconds clocks may differ.
    """

    def __init__(
        self,
        keys: IssuerKeys,
        algorithms: Sequence[str],
        issuer: str,
        audience: str,
        leeway: int,
    ) -> None:
        self._keys = keys
        self._algorithms = algorithms
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway

    async def verify(self, token: str) -> Principal:
        """Return who calls with a token.

        Raises:
            InvalidTokenError: it proves nothing.
            KeysUnavailableError: the keys of the issuer cannot be fetched.
        """
        header = self._read_header(token)
        key = await self._keys.find(header.get("kid"), header["alg"])
        if key is None:
            raise InvalidTokenError("an unknown key")
        claims = self._decode(token, key)
        return Principal(claims.sub, claims.split_scopes())

    def _read_header(self, token: str) -> dict[str, Any]:
        """Return what the token says of its signature, which decides nothing but the key."""
        try:
            header = jwt.get_unverified_header(token)
        except MALFORMED as exc:
            raise InvalidTokenError(describe(exc)) from exc
        if header.get("alg") not in self._algorithms:
            raise InvalidTokenError("an algorithm that is not allowed")
        return header

    def _decode(self, token: str, key: jwt.PyJWK) -> Claims:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
            return Claims.model_validate(claims)
        except ValidationError as exc:
            raise InvalidTokenError("a claim of the wrong type") from exc
        except MALFORMED as exc:
            raise InvalidTokenError(describe(exc)) from exc


def describe(exc: Exception) -> str:
    """Return what is wrong with a token, in words of our own, without anything of the token."""
    for kind, reason in REASONS.items():
        if isinstance(exc, kind):
            return reason
    return "malformed"


def require_issuer(settings: Settings) -> None:
    """End the process if in production anybody could sign tokens."""
    problem = find_weak_issuer(settings.jwt_issuer, settings.jwt_jwks_url)
    if problem and settings.environment == "production":
        refuse(problem)


@asynccontextmanager
async def open_access_tokens(settings: Settings, outages: OutageLog) -> AsyncIterator[AccessTokens]:
    """Build what verifies tokens, and close its connections at the end."""
    algorithms = settings.jwt_algorithms
    async with connect_issuer(settings) as client:
        keys = IssuerKeys(JwksClient(client, settings.jwt_jwks_url), algorithms, outages)
        yield AccessTokens(
            keys,
            algorithms,
            settings.jwt_issuer,
            settings.jwt_audience,
            settings.jwt_leeway,
        )
