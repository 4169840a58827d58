"""The only place that builds, wires and closes; everything else is handed what it needs."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib import import_module
from typing import Any

import uvicorn
from fastapi import FastAPI

# copier: if stores
from src.airtight import outgoing
# copier: endif
from src.airtight.application import AirtightAPI
from src.airtight.lifespan import report_lifespan_errors
from src.airtight.logging import configure_logging
# copier: if "prometheus" in observability
from src.airtight.metrics import enable_multiprocess, init_metrics, watch_pools
# copier: endif
# copier: if "sentry" in observability
from src.airtight.sentry import init_sentry
# copier: endif
# copier: if "opentelemetry" in observability
from src.airtight.tracing import init_tracing
# copier: endif
from src.api import health
# copier: if example == "decisions"
from src.api.decisions import router as decisions_router
# copier: endif
# copier: if "prometheus" in observability
from src.api.metrics import router as metrics_router
# copier: endif
# copier: if example == "orders"
from src.api.orders import router as orders_router
# copier: endif
# copier: if example == "decisions"
from src.clients.decisions import DecisionRepository
# copier: endif
# copier: if example == "orders"
from src.clients.http import UpstreamClient
# copier: endif
# copier: if "postgres" in stores
from src.clients.migrations import MigrationCheck
# copier: endif
# copier: if example == "decisions"
from src.clients.redis import BaseRedisClient
# copier: endif
from src.config import APP_METADATA, ROOT, SERVICE_NAME, Settings, load_settings
# copier: if "postgres" in stores
from src.connectors.postgres import PostgresConnector
# copier: endif
# copier: if "redis" in stores and example != "orders"
from src.connectors.redis import RedisConnector
# copier: endif
# copier: if example == "decisions"
from src.models.credit_score import Scorecard
from src.services.decisions import DecisionService
# copier: endif
# copier: if example == "orders"
from src.services.orders import build_order_facade, build_order_repository
# copier: endif
from src.services.readiness import Readiness


# copier: if false
# isort: on
# fmt: on
# copier: endif
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what the service needs, and close it when it stops."""
    state = app.state
    # copier: if stores
    settings: Settings = state.settings
    # copier: endif
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(report_lifespan_errors())
        state.readiness = readiness = await stack.enter_async_context(aclosing(Readiness()))
        # copier: if "postgres" in stores
        state.postgres = PostgresConnector(
            settings.database_url.get_secret_value(),
            settings.database_pool_size,
            settings.database_timeout,
            statement_cache_size=settings.database_statement_cache_size,
            on_connect=outgoing.observe_connection,
        )
        migrations = MigrationCheck(state.postgres, ROOT / "migrations" / "versions")
        readiness.stores["postgres"] = state.postgres
        readiness.add_check("postgres", migrations.check)
        # copier: endif
        # copier: if "redis" in stores and example != "orders"
        state.redis = RedisConnector(
            settings.redis_url.get_secret_value(),
            settings.redis_pool_size,
            settings.redis_timeout,
            observe_command=outgoing.observe_command,
        )
        readiness.stores["redis"] = state.redis
        # copier: endif
        await readiness.check()
        # copier: if "prometheus" in observability
        watch_pools(readiness.stores)
        # copier: endif
        # copier: if example == "decisions"
        cache = BaseRedisClient(state.redis, settings.redis_prefix)
        state.decisions = DecisionService(
            Scorecard.load(settings.model_path),
            cache,
            DecisionRepository(state.postgres),
            settings.features_ttl,
            readiness.outages,
        )
        # copier: endif
        # copier: if example == "orders"
        orders = build_order_repository(settings, state.postgres)
        tax_office = UpstreamClient(
            str(settings.tax_office_url),
            timeout=settings.tax_office_timeout,
            observe=outgoing.observe_calls(settings.request_id_header),
        )
        await stack.enter_async_context(tax_office)
        state.orders = build_order_facade(settings, orders, tax_office)
        # copier: endif
        gc.collect()
        gc.freeze()  # what lives as long as the service is not looked through again at each collection
        yield


def create_app() -> FastAPI:
    """Build the application."""
    settings = load_settings()
    configure_logging(
        settings.log_level,
        settings.log_format,
        SERVICE_NAME,
        settings.log_file,
        levels=settings.log_levels,
        redact_fields=settings.redact_fields,
    )
    options: dict[str, Any] = dict(APP_METADATA)
    # copier: if "prometheus" in observability
    init_metrics()
    # copier: endif
    # copier: if "sentry" in observability
    init_sentry(settings.sentry_dsn, settings.environment)
    # copier: endif
    # copier: if "opentelemetry" in observability
    options["telemetry"] = init_tracing(settings.otel_exporter_otlp_endpoint, SERVICE_NAME)
    # copier: endif
    app = AirtightAPI(
        lifespan=lifespan,
        cors_origins=settings.cors_origins,
        request_id_header=settings.request_id_header,
        max_body_size=settings.max_body_size,
        **options,
    )
    app.state.settings = settings
    # copier: if example == "decisions"
    app.include_router(decisions_router)
    # copier: endif
    # copier: if example == "orders"
    app.include_router(orders_router)
    # copier: endif
    # Last, since a request is compared with all routes before its own.
    app.include_router(health.router)
    # copier: if "prometheus" in observability
    app.include_router(metrics_router)
    # copier: endif
    if settings.environment == "development" and (ROOT / "dev").is_dir():  # which no image has
        import_module("dev.errors_page").add_to(app)
    return app


app = create_app()

if __name__ == "__main__":
    settings: Settings = app.state.settings
    # copier: if "prometheus" in observability
    enable_multiprocess(settings.workers)
    # copier: endif
    uvicorn.run(
        app if settings.workers == 1 else "src.main:app",
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        timeout_graceful_shutdown=settings.shutdown_timeout,
        log_config=None,
        access_log=False,
    )
