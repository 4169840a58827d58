"""Spans for OpenTelemetry around what FastAPI does not see, and ids that connect records and traces."""

import logging
import os
# copier: if "postgres" in stores
import time
# copier: endif
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from pydantic import AnyHttpUrl

from . import hooks

tracer = trace.get_tracer(__name__.partition(".")[0])
MAX_QUERY = 2_000  # characters of a statement in its span


def init_tracing(collector: AnyHttpUrl | None, service: str) -> dict[str, bool]:
    """Put the ids of traces into records, make spans of calls, and return FastAPI's `telemetry`.

    Args:
        collector: the URL of a collector that takes OTLP over HTTP.
        service: the name of the service.
    """
    if collector:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = str(collector)
        os.environ.setdefault("OTEL_SERVICE_NAME", service)
        from . import collector as exporter  # noqa: PLC0415 - takes a third of the start

        exporter.build_processor()
        hooks.register(hooks.service_stopped, exporter.flush_spans)
    hooks.register(hooks.request_started, _name_request)
    hooks.register(hooks.call_started, trace_call)
    # copier: if "redis" in stores
    hooks.register(hooks.command_started, trace_command)
    # copier: endif
    # copier: if "postgres" in stores
    hooks.register(hooks.connection_opened, trace_queries)
    # copier: endif
    hooks.register(hooks.trace_injectors, propagate.inject)
    hooks.register(hooks.failure_logged, _mark_failure)
    hooks.register(hooks.context_fields, trace_ids)
    return {"tracing": collector is not None, "auto_configure": False, "operation_spans": False}


def trace_ids() -> dict[str, str]:
    """Return the ids of the current span; nothing where there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _name_request(scope: Any, correlation_id: str) -> None:
    """Add the correlation id to the current span, and hide the query, which may hold a secret."""
    span = trace.get_current_span()
    span.set_attribute("correlation_id", correlation_id)
    if scope["query_string"]:
        span.set_attribute("url.query", "***")


def _mark_failure(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    """Add the class of a failure to its span, but not its text, which may hold a secret."""
    if record.levelno >= logging.ERROR:
        _fail(trace.get_current_span(), fields.get("error", "record"))


def _fail(span: Span, error: str) -> None:
    if span.is_recording():  # a failure after the response comes too late for it
        span.set_status(StatusCode.ERROR)
        span.set_attribute("error.type", error)


# copier: if "postgres" in stores
async def trace_queries(connection: Any) -> None:
    """Make a span of each statement of a connection, without its values."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        connection.add_query_logger(_add_span_of_statement)


def _add_span_of_statement(statement: Any) -> None:
    # copier: if example == "orders"
    if not trace_ids():  # a worker that looks for work has no trace
        return
    # copier: endif
    attributes = {
        "db.system.name": "postgresql",
        "db.query.text": statement.query[:MAX_QUERY],
    }
    end = time.time_ns()
    start = end - int(statement.elapsed * 1e9)
    verb = statement.query.split(maxsplit=1)[0].upper()[:20]
    span = tracer.start_span(
        f"postgresql {verb}", kind=SpanKind.CLIENT, attributes=attributes, start_time=start
    )
    if statement.exception:
        _fail(span, type(statement.exception).__qualname__)
    span.end(end)


# copier: endif
@contextmanager
def client_span(
    system: str, operation: str, headers: Any = None, **attributes: Any
) -> Iterator[None]:
    """Put a span around a call to another service, and add the trace to the headers of the call.

    Args:
        system: the name of the other service, or of its protocol.
        operation: what is called.
        headers: of the call; None if it has none.
        attributes: of the span.
    """
    # copier: if example == "orders"
    if not trace_ids():  # a worker that looks for work has no trace
        yield
        return
    # copier: endif
    silent: Any = {"record_exception": False, "set_status_on_exception": False}
    started = tracer.start_as_current_span(
        f"{system} {operation}", kind=SpanKind.CLIENT, attributes=attributes, **silent
    )
    with started as span:
        if headers is not None:
            propagate.inject(headers)
        try:
            yield
        except BaseException as exc:
            _fail(span, type(exc).__qualname__)
            raise


# copier: if "redis" in stores
def trace_command(command: str) -> AbstractContextManager[None]:
    """Return a span around a command of Redis."""
    return client_span("redis", command, **{"db.system.name": "redis"})


# copier: endif
def trace_call(request: Any) -> AbstractContextManager[None]:
    """Return a span around a call to another service, whose headers pass the trace on."""
    attributes = {
        "http.request.method": request.method,
        "server.address": request.url.host,
    }
    return client_span("HTTP", request.method, request.headers, **attributes)
