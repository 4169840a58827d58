"""Who calls: what a request says of it, and whether that is proved."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.requests import HTTPConnection
from fastapi.security import (
    # copier: if auth == "api_key"
    APIKeyHeader,
    # copier: endif
    # copier: if auth == "jwt"
    HTTPAuthorizationCredentials,
    HTTPBearer,
    # copier: endif
    SecurityScopes,
)

from src.airtight import raises, set_subject
from src.services import (
    # copier: if auth == "jwt"
    access_tokens,
    # copier: endif
    # copier: if auth == "api_key"
    api_keys,
    # copier: endif
    callers,
)
from src.utils.errors import (
    APIError,
    # copier: if auth == "jwt"
    KeysUnavailableError,
    # copier: endif
    MissingScopeError,
    NotAuthenticatedError,
)

PRINCIPAL = "src.principal"  # the key of a scope whose caller is known


# copier: if auth == "api_key"
class ApiKeyHeader(APIKeyHeader):
    """Reads the key from the header of a request, or of the handshake of a WebSocket."""

    async def __call__(self, request: HTTPConnection) -> str | None:
        """Return the key; None if there is none."""
        return request.headers.get(self.model.name)


API_KEY = ApiKeyHeader(
    name="X-API-Key",
    scheme_name="ApiKey",
    description="The key of a caller.",
    auto_error=False,
)


# copier: endif
# copier: if auth == "jwt"
class BearerToken(HTTPBearer):
    """Reads a token from the header of a request, or of the handshake of a WebSocket."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        """Return the token; None if there is none."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        return HTTPAuthorizationCredentials(scheme=scheme, credentials=token.strip())


BEARER = BearerToken(
    scheme_name="Bearer",
    bearerFormat="JWT",
    description="A token of the issuer.",
    auto_error=False,
)


# copier: endif
async def authenticate(
    connection: HTTPConnection,
    # copier: if auth == "api_key"
    key: Annotated[str | None, Security(API_KEY)],
    # copier: endif
    # copier: if auth == "jwt"
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)],
    # copier: endif
) -> callers.Principal:
    """Return who calls, whom each record of the request names from then on.

    Raises:
        NotAuthenticatedError: there is no proof of that.
        # copier: if auth == "jwt"
        KeysUnavailableError: a token cannot be verified now.
        # copier: endif
    """
    state = connection.app.state
    # FastAPI asks once for each set of scopes that a route names.
    principal: callers.Principal | None = connection.scope.get(PRINCIPAL)
    if principal is not None:
        return principal
    # copier: if auth == "api_key"
    if key is not None:
        keys: api_keys.ApiKeys = state.api_keys
        principal = keys.find(key)
    # copier: endif
    # copier: if auth == "jwt"
    if bearer is not None:
        tokens: access_tokens.AccessTokens = state.access_tokens
        principal = await tokens.verify(bearer.credentials)
    # copier: endif
    if principal is None:
        raise NotAuthenticatedError("no credentials")
    set_subject(principal.subject)
    connection.scope[PRINCIPAL] = principal
    return principal


async def get_caller(
    scopes: SecurityScopes, principal: Annotated[callers.Principal, Depends(authenticate)]
) -> callers.Principal:
    """Return who calls.

    Raises:
        MissingScopeError: the route needs a scope that the caller does not have.
    """
    for scope in scopes.scopes:
        if scope not in principal.scopes:
            raise MissingScopeError(scope)
    return principal


Caller = Annotated[callers.Principal, Security(get_caller)]


def include_protected(app: FastAPI, router: APIRouter) -> None:
    """Make the routes of a router part of an application, for callers who are known."""
    errors: list[type[APIError]] = [NotAuthenticatedError]
    # copier: if auth == "jwt"
    errors.append(KeysUnavailableError)
    # copier: endif
    dependencies = [Security(get_caller)]
    app.include_router(router, dependencies=dependencies, responses=raises(*errors))
