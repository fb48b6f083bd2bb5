"""Spans on their way out: OTLP over HTTP, in batches, from a thread of its own; what does not fit is counted.

The SDK's batch processor drops silently when its queue is full. Here each span is counted in and each batch out, so
that the queue never overflows and `apx_spans_dropped_total` tells what was lost and why.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from apx.telemetry.metrics import SPANS_DROPPED

QUEUE_SPANS = 2048
BATCH_SPANS = 256
_DELAY_MS = 1000
_TIMEOUT_S = 5.0
_LIMITS = SpanLimits(max_span_attributes=32, max_events=8, max_links=8, max_attribute_length=256)


def provider(process: str, exporter: SpanExporter, *, queue_spans: int = QUEUE_SPANS) -> TracerProvider:
    """Return the tracers of one process; every span that is started is kept (the caller asks first if to start it)."""
    resource = Resource({"service.name": f"apx-{process}", "service.namespace": "apx"})
    made = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, span_limits=_LIMITS)
    made.add_span_processor(_Counted(exporter, queue_spans))
    return made


def otlp(endpoint: str) -> SpanExporter:
    """Return the exporter that posts to `endpoint`/v1/traces."""
    return OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces", timeout=_TIMEOUT_S)


class _Counted(SpanProcessor):
    """Lets at most `queue_spans` wait for their export; the others are dropped and counted."""

    def __init__(self, exporter: SpanExporter, queue_spans: int) -> None:
        self._room = threading.Semaphore(queue_spans)
        self._exporter = _Counting(exporter, self._room)
        self._batches: SpanProcessor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=queue_spans,
            schedule_delay_millis=_DELAY_MS,
            max_export_batch_size=min(BATCH_SPANS, queue_spans),
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a span counts when it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span where there is room."""
        if self._room.acquire(blocking=False):
            self._batches.on_end(span)
        else:
            SPANS_DROPPED.inc("full")

    def force_flush(self, timeout_millis: int = 2000) -> bool:
        """Export what waits, for at most this time (the SDK's own has no limit)."""
        flushing = threading.Thread(target=self._batches.force_flush, daemon=True)
        flushing.start()
        flushing.join(timeout_millis / 1000)
        return not flushing.is_alive()

    def shutdown(self) -> None:
        """Export what waits for at most two seconds, then give up the rest."""
        self.force_flush()
        self._exporter.shutdown()
        self._batches.shutdown()


class _Counting(SpanExporter):
    """Gives back the room of each batch, and counts those that were not taken."""

    def __init__(self, exporter: SpanExporter, room: threading.Semaphore) -> None:
        self._exporter = exporter
        self._room = room
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch. Never raises."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._room.release(len(spans))
            if result is not SpanExportResult.SUCCESS:
                SPANS_DROPPED.add(float(len(spans)), "export")
        return result

    def shutdown(self) -> None:
        """Stop; also ends a retry that is waiting."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()
