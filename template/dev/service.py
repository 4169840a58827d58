"""The service for development: it reloads when a file changes."""

import os
import sys
from contextlib import ExitStack

import uvicorn

from dev import (
    # copier: if stores
    OWN,
    # copier: endif
    # copier: if auth == "api_key"
    api_keys,
    # copier: endif
    # copier: if "postgres" in stores
    database,
    # copier: endif
    # copier: if auth == "jwt"
    issuer,
    # copier: endif
    ports,
    # copier: if stores
    stores,
    # copier: endif
    # copier: if example == "orders"
    worker,
    # copier: endif
)
from src.airtight.logging import configure_logging
from src.config import SERVICE_NAME, Settings, load_settings

# Ctrl-C and a reload do not wait longer for a stream of events that a browser has open.
SHUTDOWN_TIMEOUT = 1  # seconds


def run() -> None:
    """Run the service, reloading, until Ctrl-C."""
    os.environ.setdefault("LOG_FORMAT", "console")
    with ExitStack() as stack:
        # copier: if stores
        started = stack.enter_context(stores.running(OWN))
        os.environ |= started
        # copier: endif
        # copier: if auth == "api_key"
        api_keys.let_developer_in()
        # copier: endif
        # copier: if auth == "jwt"
        os.environ |= stack.enter_context(issuer.developing())
        # copier: endif
        settings = load_settings()
        require_free_port(settings)
        stack.callback(print, "stopped")
        # copier: if stores
        show_stores(settings, started)
        # copier: endif
        # copier: if "postgres" in stores
        database.upgrade()
        # copier: endif
        # copier: if example == "orders"
        stack.enter_context(worker.running())
        # copier: endif
        serve(settings)


def require_free_port(settings: Settings) -> None:
    """End the process with one line if somebody listens where the service is to listen."""
    if ports.is_taken(settings.host, settings.port):
        sys.exit(f"port {settings.port} is taken: stop what listens there, or set PORT to another")


# copier: if stores
def show_stores(settings: Settings, started: dict[str, str]) -> None:
    """Print where the stores are.

    Args:
        settings: of the service.
        started: the URLs of stores that run for this project only, by the names of their settings.
    """
    lines: dict[str, str] = {}
    # copier: if "postgres" in stores
    postgres = settings.database_url.get_secret_value().hosts()[0]
    lines["DATABASE_URL"] = f"PostgreSQL: {postgres['host']}:{postgres['port']}"
    # copier: endif
    # copier: if "redis" in stores
    redis = settings.redis_url.get_secret_value()
    lines["REDIS_URL"] = f"Redis:      {redis.host}:{redis.port}"
    # copier: endif
    for name, line in lines.items():
        own = ", its own, in .dev/" if name in started else ""
        print(f"{line}{own}", flush=True)


# copier: endif
def serve(settings: Settings) -> None:
    """Run the service with uvicorn."""
    configure_logging(settings.log_level, settings.log_format, SERVICE_NAME)
    url = f"http://{settings.host}:{settings.port}"
    print(f"Service:    {url} (/docs describes it; Ctrl-C ends it)", flush=True)
    if settings.environment == "development":
        print(f"Failures:   {url}/debug/errors", flush=True)
    uvicorn.run(
        "src.main:app",
        host=settings.host,
        port=settings.port,
        reload=True,
        reload_dirs=["src"],
        log_config=None,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
