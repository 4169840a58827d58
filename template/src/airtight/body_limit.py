"""The limit of the size of bodies: Starlette's, for the requests that can have one."""

from starlette.exceptions import HTTPException
from starlette.middleware import body_limit
from starlette.types import ASGIApp, Receive, Scope, Send

from .context import members

# A key of scopes whose server reads no body that no header announces, as RFC 9112 says.
ANNOUNCED = "airtight.announced"
NO_BODY = "airtight.no_body"  # a key of scopes whose request has none


class BodyLimit:
    """Answers 413 to a request whose body is too large.

    FastAPI has such a layer as well, which costs a request without a body 5 microseconds.

    Args:
        app: what is inside of this layer.
        max_body_size: bytes of a body; a limit of a router or a route wins.
    """

    def __init__(self, app: ASGIApp, max_body_size: int) -> None:
        self.app = app
        self._limited = body_limit.RequestBodyLimitMiddleware(self._unwrap_group, max_body_size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if NO_BODY in scope:
            await self.app(scope, receive, send)
        else:
            await self._limited(scope, receive, send)

    async def _unwrap_group(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except BaseExceptionGroup as group:
            error = find_limit_error(group)
            if error is None:
                raise
            raise error from group


def find_limit_error(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """Return the exception that Starlette's limit waits for, if a group holds nothing else.

    A middleware that reads the body in a task group raises a group of it.
    """
    errors = members(group)
    if any(type(error).__module__ != body_limit.__name__ for error in errors):
        return None
    # One that is no HTTPException says that the response is sent already.
    return min(errors, key=lambda error: isinstance(error, HTTPException))
