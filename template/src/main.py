"""The only place that builds, wires and closes; everything else is handed what it needs."""

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib import import_module
from typing import Any

import uvicorn
from fastapi import FastAPI

from src.airtight import AirtightAPI, configure_logging, report_lifespan_errors
from src.airtight.server import Limits, limited_http
from src.api.routers import include_routers, operation_id
from src.config import APP_METADATA, ROOT, SERVICE_NAME, Settings, load_settings
# copier: if "postgres" in stores
from src.connectors.migrations import MigrationCheck
from src.connectors.postgres import connect_postgres
# copier: endif
# copier: if "redis" in stores and example != "orders"
from src.connectors.redis import connect_redis
# copier: endif
# copier: if observability
from src.observability import init_observability
# copier: endif
# copier: if auth == "jwt"
from src.services.access_tokens import open_access_tokens, require_issuer
# copier: endif
# copier: if auth == "api_key"
from src.services.api_keys import ApiKeys, require_keys
# copier: endif
# copier: if example == "decisions"
from src.services.decisions import build_decision_service
# copier: endif
# copier: if example == "orders"
from src.services.orders import open_order_facade
# copier: endif
from src.services.readiness import Readiness


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what the service needs, and close it when it stops."""
    state = app.state
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(report_lifespan_errors())
        readiness = await stack.enter_async_context(aclosing(Readiness()))
        state.readiness = readiness
        # copier: if "postgres" in stores
        postgres = connect_postgres(state.settings)
        readiness.add_store("postgres", postgres, MigrationCheck(postgres).check)
        state.postgres = postgres
        # copier: endif
        # copier: if "redis" in stores and example != "orders"
        redis = connect_redis(state.settings)
        readiness.add_store("redis", redis)
        state.redis = redis
        # copier: endif
        # copier: if auth == "api_key"
        state.api_keys = ApiKeys(state.settings.api_keys)
        # copier: endif
        # copier: if auth == "jwt"
        access_tokens = open_access_tokens(state.settings, readiness.outages)
        state.access_tokens = await stack.enter_async_context(access_tokens)
        # copier: endif
        await readiness.check()
        # copier: if example == "decisions"
        state.decisions = build_decision_service(state.settings, postgres, redis, readiness.outages)
        # copier: endif
        # copier: if example == "orders"
        order_facade = open_order_facade(state.settings, postgres)
        state.orders = await stack.enter_async_context(order_facade)
        # copier: endif
        gc.collect()
        gc.freeze()  # what lives as long as the service is not looked through again at each collection
        yield


def create_app() -> FastAPI:
    """Build the application."""
    settings = load_settings()
    # copier: if auth == "api_key"
    require_keys(settings)
    # copier: endif
    # copier: if auth == "jwt"
    require_issuer(settings)
    # copier: endif
    configure_logging(
        settings.log_level,
        settings.log_format,
        SERVICE_NAME,
        settings.log_file,
        levels=settings.log_levels,
        redact_fields=settings.redact_fields,
    )
    options: dict[str, Any] = dict(APP_METADATA)
    # copier: if observability
    options |= init_observability(settings)
    # copier: endif
    app = AirtightAPI(
        lifespan=lifespan,
        cors_origins=settings.cors_origins,
        request_id_header=settings.request_id_header,
        max_body_size=settings.max_body_size,
        generate_unique_id_function=operation_id,
        separate_input_output_schemas=False,  # clients that are generated have each model once
        docs_url=None,  # `src/api/docs.py` has it
        redoc_url=None,
        **options,
    )
    app.state.settings = settings
    include_routers(app)
    if settings.environment == "development" and (ROOT / "dev").is_dir():  # which no image has
        import_module("dev.errors_page").add_to(app)
    return app


app = create_app()

if __name__ == "__main__":
    settings: Settings = app.state.settings
    limits = Limits(settings.limit_concurrency, settings.header_timeout, settings.body_timeout)
    uvicorn.run(
        app if settings.workers == 1 else "src.main:app",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=limited_http(limits),
        timeout_graceful_shutdown=settings.shutdown_timeout,
        timeout_worker_healthcheck=30,  # by default 5 seconds, in which a busy machine starts none
        log_config=None,
        access_log=False,
    )
