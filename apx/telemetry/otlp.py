"""OTLP's export of spans, read from protobuf or JSON into plain records.

JSON is read by its own structs: OTLP writes ids there as hex (opentelemetry-proto, `docs/specification.md`, "JSON
Protobuf Encoding"), which protobuf's own JSON parser takes for base64.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, TypeVar

import msgspec
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf carries no types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apx.telemetry.redaction import forbidden, mask_text

MAX_SPANS = 10_000
MAX_ATTRIBUTES = 64
MAX_TEXT = 512
T = TypeVar("T")
Value = str | int | float | bool
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")
_URLS = frozenset({"http.url", "http.target", "url.full", "url.path"})
_TRACE_ID, _SPAN_ID = re.compile(r"(?!0{32})[0-9a-f]{32}"), re.compile(r"(?!0{16})[0-9a-f]{16}")


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One span."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for a root."""
    name: str
    service: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    """`unset`, `ok` or `error`."""
    attributes: dict[str, Value]


def decode_protobuf(body: bytes) -> Iterator[SpanRecord]:
    """Yield the spans of an `ExportTraceServiceRequest`. Raises `ValueError`."""
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise ValueError("the protobuf does not parse") from error
    counted = _Counted()
    for resource in counted.each(request.resource_spans):
        service = _service(_attributes(_pairs(resource.resource.attributes)))
        for scope in counted.each(resource.scope_spans):
            for span in counted.each(scope.spans):
                yield from _record(_plain(span), service)


def decode_json(body: bytes) -> Iterator[SpanRecord]:
    """Yield the spans of an export in OTLP's JSON. Raises `ValueError`."""
    try:
        request = msgspec.json.decode(body, type=_Request, strict=False)  # 64-bit numbers come as text
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    counted = _Counted()
    for resource in counted.each(request.resource_spans):
        service = _service(_attributes(_json_pairs(resource.resource.attributes)))
        for scope in counted.each(resource.scope_spans):
            for span in counted.each(scope.spans):
                yield from _record(_plain_json(span), service)


class _Counted:
    """Two megabytes of empty messages are a million of them: what is looked at is counted."""

    def __init__(self) -> None:
        self._left = MAX_SPANS

    def each(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {MAX_SPANS} spans")
            yield item


def _service(attributes: dict[str, Value]) -> str:
    return str(attributes.get("service.name", ""))


def _record(span: SpanRecord, service: str) -> Iterator[SpanRecord]:
    """Yield the span, or nothing when its ids are not ids (OTLP: a receiver drops what is malformed)."""
    if _TRACE_ID.fullmatch(span.trace_id) and _SPAN_ID.fullmatch(span.span_id):
        yield msgspec.structs.replace(span, service=service, name=_text(span.name))


def _attributes(pairs: Iterable[tuple[str, Value | None]]) -> dict[str, Value]:
    kept: dict[str, Value] = {}
    for name, value in pairs:
        if value is None or name == "url.query" or forbidden(name) or len(kept) >= MAX_ATTRIBUTES:
            continue
        kept[name[:MAX_TEXT]] = _guarded(name, value)
    return kept


def _guarded(name: str, value: Value) -> Value:
    if isinstance(value, str):
        return _text(value.partition("?")[0] if name in _URLS else value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: str) -> str:
    return mask_text(value)[:MAX_TEXT]


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else names[0]


def _plain(span: Span) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        service="",
        kind=_named(_KINDS, span.kind),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=_named(_STATUSES, span.status.code),
        attributes=_attributes(_pairs(span.attributes)),
    )


def _pairs(attributes: Iterable[KeyValue]) -> Iterator[tuple[str, Value | None]]:
    for pair in attributes:
        kind = pair.value.WhichOneof("value")
        yield pair.key, getattr(pair.value, kind) if kind in _SCALARS else None


_SCALARS = ("string_value", "bool_value", "int_value", "double_value")  # arrays, maps and bytes are left out


_LARGEST = (1 << 63) - 1
_Unsigned = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
_Signed = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]


class _Camel(msgspec.Struct, frozen=True, rename="camel"):
    """A message of OTLP's JSON; fields that are not named here are passed over."""


class _Value(_Camel, frozen=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Signed | None = None
    double_value: float | None = None


class _KeyValue(_Camel, frozen=True):
    key: str = ""
    value: _Value = _Value()


class _Status(_Camel, frozen=True):
    code: int = 0


class _Span(_Camel, frozen=True):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int = 0
    start_time_unix_nano: _Unsigned = 0
    end_time_unix_nano: _Unsigned = 0
    status: _Status = _Status()
    attributes: tuple[_KeyValue, ...] = ()


class _Scope(_Camel, frozen=True):
    spans: tuple[_Span, ...] = ()


class _Attributed(_Camel, frozen=True):
    attributes: tuple[_KeyValue, ...] = ()


class _ResourceSpans(_Camel, frozen=True):
    resource: _Attributed = _Attributed()
    scope_spans: tuple[_Scope, ...] = ()


class _Request(_Camel, frozen=True):
    resource_spans: tuple[_ResourceSpans, ...] = ()


def _json_pairs(attributes: Iterable[_KeyValue]) -> Iterator[tuple[str, Value | None]]:
    for pair in attributes:
        values = (pair.value.string_value, pair.value.bool_value, pair.value.int_value, pair.value.double_value)
        yield pair.key, next((value for value in values if value is not None), None)


def _plain_json(span: _Span) -> SpanRecord:
    return SpanRecord(
        trace_id=span.trace_id.lower(),
        span_id=span.span_id.lower(),
        parent_id=span.parent_span_id.lower() if _SPAN_ID.fullmatch(span.parent_span_id.lower()) else "",
        name=span.name,
        service="",
        kind=_named(_KINDS, span.kind),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=_named(_STATUSES, span.status.code),
        attributes=_attributes(_json_pairs(span.attributes)),
    )
