"""Failures for Sentry: one event for each record of a failure, without anything secret."""

import asyncio
import logging
from typing import Any

import sentry_sdk
from pydantic import SecretStr
from sentry_sdk.utils import event_from_exception

from .hooks import failure_logged, register, service_stopped
from .logging import redact
from .tracebacks import ROW_VALUES

PACKAGE = __name__.partition(".")[0]
FLUSH_TIMEOUT = 2  # seconds, for the last events when the service stops


def init_sentry(dsn: SecretStr | None, environment: str) -> None:
    """Send an event for each record of a failure from now on, if there is a DSN.

    Args:
        dsn: of the project in Sentry.
        environment: the name under which Sentry files the events.
    """
    if dsn is None:
        return
    # Sentry's integrations would send each failure a second time, and cost half of the throughput.
    options: Any = {
        "default_integrations": False,
        "include_local_variables": False,
        "max_breadcrumbs": 0,
    }
    sentry_sdk.init(
        dsn.get_secret_value(), environment=environment, in_app_include=[PACKAGE], **options
    )
    register(failure_logged, _send)
    register(service_stopped, _flush)


async def _flush() -> None:
    await asyncio.to_thread(sentry_sdk.flush, FLUSH_TIMEOUT)


def _send(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    """Send a failure, from ERROR on."""
    if record.levelno < logging.ERROR:
        return
    client = sentry_sdk.get_client()
    event: Any = {"message": fields["message"]}
    if record.exc_info and record.exc_info[1]:
        event, _ = event_from_exception(record.exc_info[1], client.options)
    for value in event.get("exception", {}).get("values", ()):
        value["value"] = _redact_text_of(value)
    event["level"] = "fatal" if record.levelno >= logging.CRITICAL else "error"
    event["tags"] = {
        name: str(fields[name]) for name in ("correlation_id", "error", "route") if fields.get(name)
    }
    event["contexts"] = {
        "facts": {name: value for name, value in fields.items() if name != "exception"}
    }
    client.capture_event(event)


def _redact_text_of(value: dict[str, Any]) -> Any:
    if str(value["type"]).endswith("ValidationError"):
        return ""  # its text repeats the values that were sent
    text = value["value"] or ""
    return redact(ROW_VALUES.sub("DETAIL: ***", text))
