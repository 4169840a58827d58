"""Spans of messages, each within the trace of the request that has led to it."""

from collections.abc import Mapping
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind
from pydantic import AnyHttpUrl

from src.airtight.hooks import message_began, message_ended
from src.airtight.tracing import telemetry_to, tracer


def export_to(collector: AnyHttpUrl | None, service: str) -> None:
    """Send spans to a collector, if there is one, as FastAPI does in the service; the last ones at the end."""
    if telemetry_to(collector, service)["auto_configure"]:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


def begin_message(fields: Mapping[bytes, bytes], facts: Mapping[str, Any]) -> None:
    """Make a span the current one until the end of the task, which deals with this message alone."""
    parent = propagate.extract(
        {"traceparent": fields.get(b"traceparent", b"").decode(errors="replace")}
    )
    span = tracer.start_span(f"process {facts['stream']}", parent, SpanKind.CONSUMER, facts)
    context.attach(trace.set_span_in_context(span))


def end_message(outcome: str, _: float) -> None:
    """End the span of a message; what follows, such as the acknowledgement, is still within its trace."""
    span = trace.get_current_span()
    span.set_attribute("outcome", outcome)
    span.end()


message_began.append(begin_message)
message_ended.append(end_message)
