"""Starts what the service is observed with, besides its log."""

from typing import Any

# copier: if "prometheus" in observability
from src.airtight.metrics import init_metrics
# copier: endif
# copier: if "sentry" in observability
from src.airtight.sentry import init_sentry
# copier: endif
# copier: if "opentelemetry" in observability
from src.airtight.tracing import init_tracing
# copier: endif
from src.config import (
    # copier: if "opentelemetry" in observability
    SERVICE_NAME,
    # copier: endif
    Settings,
)


def init_observability(settings: Settings) -> dict[str, Any]:
    """Observe requests and failures from now on, and return options for FastAPI."""
    options: dict[str, Any] = {}
    # copier: if "prometheus" in observability
    init_metrics(settings.workers)
    # copier: endif
    # copier: if "sentry" in observability
    init_sentry(settings.sentry_dsn, settings.environment)
    # copier: endif
    # copier: if "opentelemetry" in observability
    options["telemetry"] = init_tracing(settings.otel_exporter_otlp_endpoint, SERVICE_NAME)
    # copier: endif
    return options
