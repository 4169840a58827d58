"""Spans for OpenTelemetry around what FastAPI does not see, and the ids by which records and traces find each other."""

# copier: if false
# fmt: off
# isort: off
# copier: endif
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

from src.airtight.hooks import (
    call_started,
    context_fields,
    failure_logged,
    request_began,
    trace_carriers,
)

# copier: if false
# isort: on
# fmt: on
# copier: endif
tracer = trace.get_tracer("src")


def telemetry_to(collector: AnyHttpUrl | None, service: str) -> dict[str, bool]:
    """Return what FastAPI is to trace, for a collector that takes OTLP over HTTP."""
    if collector:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = str(collector)
        os.environ.setdefault("OTEL_SERVICE_NAME", service)
    return {"tracing": bool(collector), "auto_configure": bool(collector), "operation_spans": False}


def trace_ids() -> dict[str, str]:
    """Return the ids of the current span; nothing where there is none."""
    context = trace.get_current_span().get_span_context()
    return (
        {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        if context.is_valid
        else {}
    )


def name_request(scope: Any, correlation_id: str) -> None:
    """Let the current span be found by the id of its request, and hide the query, which may hold anything."""
    hidden = {"url.query": "***"} if scope["query_string"] else {}
    trace.get_current_span().set_attributes({"correlation_id": correlation_id} | hidden)


def mark_failure(record: logging.LogRecord, fields: dict[str, Any]) -> None:
    """Note a failure, from ERROR on, in its span: what it was, but not its text, which may hold anything."""
    if record.levelno >= logging.ERROR:
        _fail(trace.get_current_span(), fields.get("error", "record"))


def _fail(span: Span, error: str) -> None:
    if span.is_recording():  # what fails after the answer comes too late for it
        span.set_status(StatusCode.ERROR)
        span.set_attribute("error.type", error)


# copier: if "postgres" in stores
async def trace_queries(connection: Any) -> None:
    """Make a span of each statement of a connection, once it is done; its values are left out."""
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        connection.add_query_logger(_statement)


def _statement(done: Any) -> None:
    # copier: if example == "orders"
    if not trace_ids():  # of a worker that looks for work
        return
    # copier: endif
    facts = {"db.system.name": "postgresql", "db.query.text": done.query[:2_000]}
    end = time.time_ns()
    start = end - int(done.elapsed * 1e9)
    name = f"postgresql {done.query.split(maxsplit=1)[0].upper()[:20]}"
    span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=facts, start_time=start)
    if done.exception:
        _fail(span, type(done.exception).__qualname__)
    span.end(end)


# copier: endif
@contextmanager
def client_span(
    system: str, operation: str, headers: Any = None, **attributes: Any
) -> Iterator[None]:
    """Put a span around a call to another service, and in its headers, if it has some, the trace."""
    # copier: if example == "orders"
    if not trace_ids():  # a worker looks for work
        yield
        return
    # copier: endif
    silent: Any = {"record_exception": False, "set_status_on_exception": False}
    name, kind = f"{system} {operation}", SpanKind.CLIENT
    with tracer.start_as_current_span(name, kind=kind, attributes=attributes, **silent) as span:
        if headers is not None:
            propagate.inject(headers)
        try:
            yield
        except BaseException as exc:
            _fail(span, type(exc).__qualname__)
            raise


def trace_call(request: Any) -> AbstractContextManager[None]:
    """Return a span around a call to another service, whose headers pass the trace on."""
    attributes = {
        "http.request.method": request.method,
        "server.address": request.url.host,
    }
    return client_span("HTTP", request.method, request.headers, **attributes)


# copier: if "redis" in stores
def trace_command(command: str) -> AbstractContextManager[None]:
    """Return a span around a command of Redis."""
    return client_span("redis", command, **{"db.system.name": "redis"})


# copier: endif
request_began.append(name_request)
call_started.append(trace_call)
trace_carriers.append(propagate.inject)
failure_logged.append(mark_failure)
context_fields.append(trace_ids)
