"""What the service is compared with: bare FastAPI, the usual recipe, three handlers that log errors."""

import logging
from collections.abc import Awaitable, Callable
from importlib import import_module
from time import perf_counter

from asgi_correlation_id import CorrelationIdFilter, CorrelationIdMiddleware
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pythonjsonlogger.json import JsonFormatter


def with_routes(owner: FastAPI | APIRouter) -> None:
    """Add what is measured."""

    @owner.get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    @owner.get("/crash")
    async def crash() -> float:
        return 1 / 0


def with_routers(app: FastAPI) -> FastAPI:
    """Add what is measured, and after it the routers of the service in whose folder this runs."""
    routers = import_module("src.api.routers")
    readiness = import_module("src.services.readiness")
    router = APIRouter()
    with_routes(router)
    app.include_router(router)
    app.router.routes.insert(0, app.router.routes.pop())
    routers.include_routers(app)
    app.state.readiness = readiness.Readiness()
    return app


def log_json() -> None:
    """Log as JSON with the correlation id, the usual way."""
    handler = logging.StreamHandler()
    handler.addFilter(CorrelationIdFilter())
    handler.setFormatter(
        JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s %(correlation_id)s")
    )
    logging.basicConfig(level="INFO", handlers=[handler], force=True)


def bare() -> FastAPI:
    """Return an app with nothing added."""
    app = FastAPI()
    with_routes(app)
    return app


def bare_with_routers() -> FastAPI:
    """Return an app with the routers of a service, and nothing else."""
    return with_routers(FastAPI(docs_url=None, redoc_url=None))


async def log_request(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Log a request, as a middleware."""
    started = perf_counter()
    response = await call_next(request)
    seconds = perf_counter() - started
    fields = {
        "method": request.method,
        "path": request.url.path,
        "status": response.status_code,
        "duration_ms": round(seconds * 1000, 2),
    }
    logging.getLogger("access").info("request", extra=fields)
    return response


def with_usual_layers(app: FastAPI) -> FastAPI:
    """Add what most guides end with: an id, a middleware that logs, and JSON."""
    log_json()
    app.middleware("http")(log_request)
    app.add_middleware(CorrelationIdMiddleware)
    return app


def recipe() -> FastAPI:
    """Return an app with the usual layers and the routers of a service."""
    return with_routers(with_usual_layers(FastAPI(docs_url=None, redoc_url=None)))


class APIError(Exception):
    """The parent of own errors."""


async def handle_invalid(request: Request, exc: RequestValidationError) -> Response:
    """Log what is not valid."""
    logging.warning(f"Validation didn't pass for body = {exc.body}, details = {exc.errors()}")
    return await request_validation_exception_handler(request, exc)


async def handle_own(_: Request, __: APIError) -> Response:
    """Log an own error."""
    logging.exception("Error occurred in API.")
    return JSONResponse({"message": "Internal server error"}, 500)


async def handle_unknown(_: Request, __: Exception) -> Response:
    """Log any other error."""
    logging.critical("Unhandled error occurred in the API.", exc_info=True)
    return JSONResponse({"message": "Internal server error"}, 500)


def with_handlers(app: FastAPI) -> FastAPI:
    """Add handlers for invalid requests, own errors and everything else."""
    app.exception_handler(RequestValidationError)(handle_invalid)
    app.exception_handler(APIError)(handle_own)
    app.exception_handler(Exception)(handle_unknown)
    return app


def three_handlers() -> FastAPI:
    """Return an app with three handlers and an id, whose crash README.md shows."""
    app = with_handlers(FastAPI())
    app.add_middleware(CorrelationIdMiddleware)
    with_routes(app)
    return app


def three_handlers_with_routers() -> FastAPI:
    """Return the same with the routers of a service, and with its log as JSON."""
    log_json()
    app = with_handlers(FastAPI(docs_url=None, redoc_url=None))
    app.add_middleware(CorrelationIdMiddleware)
    return with_routers(app)
