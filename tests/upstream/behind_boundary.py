"""A pytest plugin that puts every FastAPI application of a test suite behind the error boundary.

The boundary classifies and reports errors as in a service, but errors have the bodies that FastAPI
gives them, so that a failing test shows a difference in behaviour and not only in the body's form.
"""

from typing import Any

import fastapi
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from src.airtight import handlers
from src.airtight.application import AirtightAPI
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

HEADERS_OF_THE_BODY = (
    "content-length",
    "content-type",
)
TELEMETRY_ON = {
    "tracing": True,
    "metrics": True,
    "logs": True,
}
build_own_response = handlers.build_error_response


def build_response(scope: Scope, exc: BaseException) -> Response:
    """Return the service's response to an error, with the body that FastAPI gives it."""
    own = build_own_response(scope, exc)
    if not own.body:
        return own
    response = build_fastapi_response(exc)
    response.status_code = own.status_code
    for name, value in own.headers.items():
        if name not in HEADERS_OF_THE_BODY:
            response.headers[name] = value
    return response


def build_fastapi_response(exc: BaseException) -> Response:
    """Return FastAPI's response to an error."""
    if isinstance(exc, RequestValidationError):
        return JSONResponse({"detail": jsonable_encoder(exc.errors())}, 422)
    if isinstance(exc, HTTPException):
        return JSONResponse({"detail": exc.detail}, exc.status_code)
    return PlainTextResponse("Internal Server Error", 500)


class AppBehindBoundary(AirtightAPI):
    """FastAPI with the error boundary around it; its OpenAPI document and telemetry are FastAPI's."""

    def __init__(self, *, telemetry: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(telemetry=TELEMETRY_ON | (telemetry or {}), **options)

    def openapi(self) -> dict[str, Any]:
        """Return the document that FastAPI makes."""
        return FASTAPI.openapi(self)


FASTAPI = fastapi.FastAPI
handlers.build_error_response = build_response
fastapi.FastAPI = fastapi.applications.FastAPI = AppBehindBoundary  # type: ignore[assignment, misc]
