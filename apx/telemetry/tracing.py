"""Traces: W3C Trace Context in, OpenTelemetry spans out, and no cost where a request is not sampled.

    with span_if_sampled(header, "POST /orders", "server", {"http.request.method": "POST"}) as span:
        ...
        span.set("http.response.status_code", 202)
        envelope_traceparent = span.traceparent or child(header)

Who calls decides what is sampled: the flag of the incoming `traceparent` (the edge's or the client's). The worker's
spans continue the envelope's trace. Attributes take the names of OpenTelemetry's semantic conventions; queries,
credentials and bodies are dropped or masked.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from apx.errors import ApxError
from apx.telemetry.exporter import otlp, provider
from apx.telemetry.redaction import forbidden, mask_text

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool

_FORM = re.compile(r"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = frozenset("13579bdf")
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_WITH_QUERY = frozenset({"url.query", "url.full", "http.url", "http.target"})


class _Tracing:
    """This process's tracers; None: spans cost nothing and go nowhere."""

    provider: TracerProvider | None = None
    tracer: trace.Tracer | None = None


def configure(process: str, endpoint: str, *, exporter: SpanExporter | None = None) -> None:
    """Export the spans of this process to `endpoint`/v1/traces; an empty endpoint turns tracing off."""
    shutdown()
    if endpoint or exporter:
        _Tracing.provider = provider(process, exporter or otlp(endpoint))
        _Tracing.tracer = _Tracing.provider.get_tracer("apx")
        logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # a retry is no news; a lost batch is counted


def shutdown() -> None:
    """Export what waits, for at most about two seconds, and stop."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()
    _Tracing.provider = _Tracing.tracer = None


def span_if_sampled(
    traceparent: str, name: str, kind: Kind = "internal", attributes: Mapping[str, Value] | None = None
) -> Span:
    """Start a span under `traceparent` where that is sampled; otherwise return one that does nothing."""
    tracer = _Tracing.tracer
    if tracer is None or not is_recorded(traceparent):
        return NO_SPAN
    parent = parse(traceparent)
    if parent is None:
        return NO_SPAN
    context = trace.set_span_in_context(NonRecordingSpan(parent))
    return _RecordedSpan(tracer.start_span(name, context, _KINDS[kind]), attributes or {})


def is_recorded(traceparent: str) -> bool:
    """Tell whether `span_if_sampled` would record: for callers that would prepare for it."""
    return _Tracing.tracer is not None and traceparent[54:55] in _SAMPLED


def child(traceparent: str) -> str:
    """Return what an envelope carries where no span of ours stands between: the same parent, else a new trace."""
    form = _read(traceparent)
    if form is None:
        return f"00-{_random_hex(128)}-{_random_hex(64)}-00"
    return f"00-{form[2]}-{form[3]}-{form[4]}"


def parse(traceparent: str) -> SpanContext | None:
    """Read a `traceparent` header (W3C Trace Context, section 3.2); None when it is not one."""
    form = _read(traceparent)
    if form is None:
        return None
    return SpanContext(int(form[2], 16), int(form[3], 16), is_remote=True, trace_flags=TraceFlags(int(form[4], 16)))


def trace_id(traceparent: str) -> str:
    """Return the 32 hex digits that name the trace, for log lines; empty when there is none."""
    form = _read(traceparent)
    return form[2] if form else ""


def _read(traceparent: str) -> re.Match[str] | None:
    form = _FORM.fullmatch(traceparent)
    if form is None or form[1] == "ff" or (form[1] == "00" and form[5]):  # only later versions may have more parts
        return None
    return form


def _random_hex(bits: int) -> str:
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"


class Span:
    """A span that does nothing: what stands where a request is not sampled."""

    __slots__ = ()
    traceparent = ""
    """What to hand on so that the next span is this one's child; empty: nothing was recorded."""

    def set(self, name: str, value: Value) -> None:
        """Set an attribute."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed, with a stable code as `error.type`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the span."""


NO_SPAN = Span()


class _RecordedSpan(Span):
    """A span that is exported when its block ends."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span, attributes: Mapping[str, Value]) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        for name, value in attributes.items():
            self.set(name, value)

    def set(self, name: str, value: Value) -> None:
        if name not in _WITH_QUERY and not forbidden(name):
            self._span.set_attribute(name, mask_text(value) if isinstance(value, str) else value)

    def fail(self, reason: str) -> None:
        self.set("error.type", reason)
        self._span.set_status(Status(StatusCode.ERROR))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del at
        if kind is not None:  # its text stays out: it may hold what was sent
            self.fail(error.code if isinstance(error, ApxError) else kind.__name__)
        self._span.end()
