"""A FastAPI application with the error boundary around it."""

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from .body_limit import BodyLimit
from .boundary import ErrorBoundary, FailureAfterStart, GroupLimit
from .handlers import HANDLED, find_mounted, handle_exception, register_exception_handlers, respond
from .openapi import document_errors

# FastAPI's logs would repeat ours without the redaction, and its metrics need a collector.
TELEMETRY_OFF = {"tracing": False, "metrics": False, "logs": False}


class _WithBoundary(Starlette):
    """A Starlette application with the boundary around all of its layers.

    It comes after FastAPI among the base classes, so that FastAPI's telemetry is around
    this, and the access line has the ids of its trace.
    """

    boundary: ErrorBoundary

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Return what serves a request within the boundary."""
        return self.boundary(scope, receive, send)


class AirtightAPI(FastAPI, _WithBoundary):
    """A FastAPI application from which no error escapes.

    The boundary stands around what FastAPI and Starlette build, so that tools which look for
    Starlette's own layers find them.

    Args:
        cors_origins: the origins that browsers may call from; errors are readable there, too.
        request_id_header: the name of the header with the correlation id.
        max_body_size: bytes of a body; a limit of a router or a route wins.
    """

    def __init__(
        self,
        *,
        cors_origins: Sequence[str] = (),
        request_id_header: str = "X-Request-ID",
        max_body_size: int | None = None,
        **options: Any,
    ) -> None:
        handlers = dict(options.pop("exception_handlers", None) or {})
        for error_class in HANDLED:
            if error_class is not Exception or 500 not in handlers:
                handlers.setdefault(error_class, handle_exception)
        options["telemetry"] = TELEMETRY_OFF | (options.get("telemetry") or {})
        APIRouter(max_body_size=max_body_size)  # raises ValueError if it is no limit
        super().__init__(exception_handlers=handlers, **options)
        # Set here, the limit is checked in one place; as an argument, again in each route.
        self.max_body_size = max_body_size
        self._cors_origins = list(cors_origins)
        self._request_id_header = request_id_header
        without_boundary = partial(Starlette.__call__, self)
        self.boundary = ErrorBoundary(
            self._with_cors(without_boundary), respond, request_id_header, self._with_cors
        )

    def _with_cors(self, app: ASGIApp) -> ASGIApp:
        if not self._cors_origins:
            return app
        return CORSMiddleware(
            app,
            allow_origins=self._cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[self._request_id_header],
        )

    def build_middleware_stack(self) -> ASGIApp:
        """Build Starlette's layers; handle the errors of mounted applications alike."""
        for mounted in find_mounted(self):
            register_exception_handlers(mounted)
        users = list(self.user_middleware)
        self.user_middleware.append(Middleware(GroupLimit))
        limit = self.max_body_size
        if limit is not None:
            self.max_body_size = None  # FastAPI adds no layer of its own
            self.user_middleware.insert(0, Middleware(BodyLimit, max_body_size=limit))
        if any(_is_base_http(middleware) for middleware in users):
            self.user_middleware.append(Middleware(FailureAfterStart))
        try:
            return super().build_middleware_stack()
        finally:
            self.user_middleware[:] = users
            self.max_body_size = limit

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which describes the bodies of errors for every route."""
        if self.openapi_schema is None:
            document_errors(super().openapi())
        return super().openapi()


def _is_base_http(middleware: Middleware) -> bool:
    return isinstance(middleware.cls, type) and issubclass(middleware.cls, BaseHTTPMiddleware)
