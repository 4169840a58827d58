"""What the service is compared with: bare FastAPI, the usual recipe, three handlers that log errors."""

import logging
import os
import time
from collections.abc import Awaitable, Callable

from asgi_correlation_id import CorrelationIdFilter, CorrelationIdMiddleware
from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pythonjsonlogger.json import JsonFormatter


def with_routes(app: FastAPI) -> FastAPI:
    """Add what is measured."""

    @app.get("/")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    @app.get("/crash")
    async def crash() -> float:
        return 1 / 0

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
    return with_routes(FastAPI())


def recipe() -> FastAPI:
    """Return what most guides end with: an id, a middleware that logs, and JSON."""
    log_json()
    app = FastAPI()
    logger = logging.getLogger("access")

    @app.middleware("http")
    async def log_requests(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        seconds = time.perf_counter() - started
        fields = {
            "method": request.method,
            "path": request.url.path,
            "status": response.status_code,
            "duration_ms": round(seconds * 1000, 2),
        }
        logger.info("request", extra=fields)
        return response

    app.add_middleware(CorrelationIdMiddleware)
    return with_routes(app)


def three_handlers() -> FastAPI:
    """Return an app with handlers for invalid requests, own errors and everything else."""
    if os.environ.get("LOG_FORMAT") == "json":
        log_json()
    app = FastAPI()
    app.add_middleware(CorrelationIdMiddleware)

    class APIError(Exception):
        pass

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        logging.warning(f"Validation didn't pass for body = {exc.body}, details = {exc.errors()}")
        return await request_validation_exception_handler(request, exc)

    @app.exception_handler(APIError)
    async def own(_: Request, __: APIError) -> Response:
        logging.exception("Error occurred in API.")
        return JSONResponse({"message": "Internal server error"}, 500)

    @app.exception_handler(Exception)
    async def unknown(_: Request, __: Exception) -> Response:
        logging.critical("Unhandled error occurred in the API.", exc_info=True)
        return JSONResponse({"message": "Internal server error"}, 500)

    return with_routes(app)
