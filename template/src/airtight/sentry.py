"""Failures for Sentry: one event for each, by the same hand that writes the record, without anything secret."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import sentry_sdk
from pydantic import AfterValidator, SecretStr
from sentry_sdk.utils import Dsn, event_from_exception

from src.airtight.hooks import failure_logged
from src.airtight.logging import redact
from src.airtight.tracebacks import ROW_VALUES

SentryDsn = Annotated[SecretStr, AfterValidator(lambda dsn: Dsn(dsn.get_secret_value()) and dsn)]


@asynccontextmanager
async def delivery(dsn: SecretStr | None, environment: str) -> AsyncIterator[None]:
    """Send events while the service runs, if there is a DSN; the last ones have two seconds when it stops."""
    if dsn:  # without integrations: they would tell each failure again, and cost more than half of the throughput
        quiet: Any = {
            "default_integrations": False,
            "include_local_variables": False,
            "max_breadcrumbs": 0,
        }
        sentry_sdk.init(
            dsn.get_secret_value(), environment=environment, in_app_include=["src"], **quiet
        )
    try:
        yield
    finally:
        await asyncio.to_thread(sentry_sdk.flush, 2)


def send(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    """Send a failure, from ERROR on."""
    client = sentry_sdk.get_client()
    if record.levelno < logging.ERROR or not client.is_active():
        return
    event: Any = {"message": fields["message"]}
    if record.exc_info and record.exc_info[1]:
        event, _ = event_from_exception(record.exc_info[1], client.options)
    for one in event.get("exception", {}).get("values", ()):
        rejected = str(one["type"]).endswith("ValidationError")  # says what it was given
        one["value"] = "" if rejected else redact(ROW_VALUES.sub("DETAIL: ***", one["value"] or ""))
    event["level"] = "fatal" if record.levelno >= logging.CRITICAL else "error"
    event["tags"] = {
        name: str(fields[name]) for name in ("correlation_id", "error", "route") if fields.get(name)
    }
    event["contexts"] = {
        "facts": {name: fact for name, fact in fields.items() if name != "exception"}
    }
    client.capture_event(event)


failure_logged.append(send)
