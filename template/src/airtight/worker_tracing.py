"""Spans of messages, each within the trace of the request that has led to it."""

from collections.abc import Mapping
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind
from pydantic import AnyHttpUrl

from .hooks import message_finished, message_started, register
from .tracing import init_tracing, tracer


def init_worker_tracing(collector: AnyHttpUrl | None, service: str) -> None:
    """Export spans to a collector, if there is one, as FastAPI does in the service.

    Args:
        collector: the URL of a collector that takes OTLP over HTTP.
        service: the name of the service.
    """
    init_tracing(collector, service)
    register(message_started, _start_span)
    register(message_finished, _end_span)


def _start_span(fields: Mapping[bytes, bytes], attributes: Mapping[str, Any]) -> None:
    """Make a span the current one until the end of the task, which handles this message alone."""
    traceparent = fields.get(b"traceparent", b"").decode(errors="replace")
    parent = propagate.extract({"traceparent": traceparent})
    name = f"process {attributes['stream']}"
    span = tracer.start_span(name, parent, SpanKind.CONSUMER, attributes)
    context.attach(trace.set_span_in_context(span))


def _end_span(outcome: str, _seconds: float) -> None:
    """End the span of a message; its acknowledgement, which follows, is still within its trace."""
    span = trace.get_current_span()
    span.set_attribute("outcome", outcome)
    span.end()
