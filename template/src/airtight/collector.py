"""Exports spans to a collector; each outage of it is logged once, and it delays nobody."""

import asyncio
import logging
from collections.abc import Sequence
from functools import cache
from threading import Thread

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

FLUSH_TIMEOUT = 2.0  # seconds, when the service stops
MAX_REASON = 500  # characters

logger = logging.getLogger(__name__)


class ExporterMessages(logging.Filter):
    """Refuses the records of the exporter, which writes two for each attempt.

    Attributes:
        texts: their messages.
    """

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Refuse a record."""
        self.texts.append(record.getMessage()[:MAX_REASON])
        return False


class CollectorExporter(OTLPSpanExporter):
    """Exports spans, and logs the start and the end of each outage of the collector."""

    def __init__(self) -> None:
        super().__init__()
        self._is_failing = False
        self._messages = ExporterMessages()
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self._messages)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans; those that cannot be exported are lost."""
        self._messages.texts.clear()
        result = super().export(spans)
        was_failing = self._is_failing
        self._is_failing = result is not SpanExportResult.SUCCESS
        if self._is_failing and not was_failing:
            fields = {"reason": next(iter(self._messages.texts), None)}
            logger.warning("collector is unavailable, spans are lost", extra=fields)
        if was_failing and not self._is_failing:
            logger.info("collector is available again")
        return result


@cache
def build_processor() -> BatchSpanProcessor:
    """Export spans from now on, in a thread; once in each process."""
    # The thread waits for the collector while spans come in: what does not fit is lost, as well.
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
    processor = BatchSpanProcessor(CollectorExporter())
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    provider.add_span_processor(processor)
    return processor


async def flush_spans() -> None:
    """Export what is left, for a bounded time."""
    # A daemon, since a collector that does not respond must not keep the process.
    thread = Thread(target=build_processor().force_flush, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, FLUSH_TIMEOUT)
