import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from apx.errors import Unavailable
from apx.telemetry.otlp import MAX_SPANS
from apx.telemetry.spans import MAX_BODY_BYTES, SpanFile, SpansRefused

PROTOBUF, JSON = "application/x-protobuf", "application/json"
TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b6"


@pytest.fixture
def spans(tmp_path: Path) -> SpanFile:
    return SpanFile(tmp_path / "traces" / "spans.jsonl")


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def span(trace_id: str = TRACE, **fields: Any) -> Span:
    given = {"name": "POST /orders", "start_time_unix_nano": 10, "end_time_unix_nano": 20, **fields}
    return Span(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(SPAN), **given)


def export(*made: Span, service: str = "apx-router") -> bytes:
    resource = ResourceSpans(scope_spans=[ScopeSpans(spans=made)])
    resource.resource.attributes.append(text("service.name", service))
    return bytes(ExportTraceServiceRequest(resource_spans=[resource]).SerializeToString())


def json_export(**fields: Any) -> bytes:
    made = {"traceId": TRACE, "spanId": SPAN, "name": "POST /orders", **fields}
    named = {"attributes": [{"key": "service.name", "value": {"stringValue": "envoy"}}]}
    return json.dumps({"resourceSpans": [{"resource": named, "scopeSpans": [{"spans": [made]}]}]}).encode()


def test_a_span_in_protobuf_can_be_read_back(spans: SpanFile) -> None:
    made = span(
        parent_span_id=bytes.fromhex(PARENT),
        kind=Span.SPAN_KIND_SERVER,
        status=Status(code=Status.STATUS_CODE_ERROR),
        attributes=[text("http.request.method", "POST")],
    )
    assert spans.accept(PROTOBUF, export(made)) == 1
    (read,) = spans.read(TRACE)
    assert (read.trace_id, read.span_id, read.parent_id, read.service) == (TRACE, SPAN, PARENT, "apx-router")
    assert (read.kind, read.status, read.start_ns, read.end_ns) == ("server", "error", 10, 20)
    assert read.attributes == {"http.request.method": "POST"}


def test_a_span_in_json_can_be_read_back(spans: SpanFile) -> None:
    attributes = [{"key": "n", "value": {"intValue": "7"}}, {"key": "b", "value": {"boolValue": False}}]
    body = json_export(startTimeUnixNano="10", endTimeUnixNano="20", kind=3, attributes=attributes, traceState="new")
    assert spans.accept("application/json; charset=utf-8", body) == 1
    (read,) = spans.read(TRACE)
    assert (read.service, read.kind, read.start_ns, read.end_ns) == ("envoy", "client", 10, 20)
    assert read.attributes == {"n": 7, "b": False}


def test_a_trace_is_read_by_its_start_without_others(spans: SpanFile) -> None:
    other = "5" * 32
    spans.accept(PROTOBUF, export(span(start_time_unix_nano=30), span(other), span(start_time_unix_nano=5)))
    assert [read.start_ns for read in spans.read(TRACE.upper())] == [5, 30]


def test_a_trace_that_is_not_there_is_empty(spans: SpanFile) -> None:
    assert spans.read(TRACE) == []


@pytest.mark.parametrize("wanted", ["", "../../etc/passwd", "name", "{", "4bf9"])
def test_what_is_no_trace_id_finds_nothing(spans: SpanFile, wanted: str) -> None:
    spans.accept(PROTOBUF, export(span()))
    assert spans.read(wanted) == []


def test_each_span_is_one_line(spans: SpanFile, tmp_path: Path) -> None:
    spans.accept(PROTOBUF, export(span(name="two\nlines"), span()))
    assert len((tmp_path / "traces" / "spans.jsonl").read_text().splitlines()) == 2


def test_the_files_stay_within_their_size_and_keep_the_newest(tmp_path: Path) -> None:
    spans = SpanFile(tmp_path / "spans.jsonl", max_bytes=2000)
    for n in range(100):
        spans.accept(PROTOBUF, export(span(f"{n + 1:032x}")))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * 2000
    assert len(spans.read(f"{100:032x}")) == 1
    assert spans.read(f"{1:032x}") == []


def test_a_torn_line_is_passed_over_and_does_not_tear_the_next(spans: SpanFile, tmp_path: Path) -> None:
    spans.accept(PROTOBUF, export(span()))
    file = tmp_path / "traces" / "spans.jsonl"
    file.write_bytes(file.read_bytes() + b'{"trace_id":"' + TRACE.encode())
    spans.accept(PROTOBUF, export(span()))
    assert len(spans.read(TRACE)) == 2


def test_a_full_disk_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot write spans to"):
        SpanFile(Path("/dev/full/spans.jsonl")).accept(PROTOBUF, export(span()))


@pytest.mark.parametrize("kind", ["", "text/plain", "application/grpc"])
def test_another_content_type_is_refused(spans: SpanFile, kind: str) -> None:
    with pytest.raises(SpansRefused) as refused:
        spans.accept(kind, b"")
    assert refused.value.status == 415


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_a_body_over_the_bound_is_refused_unread(spans: SpanFile, kind: str) -> None:
    with pytest.raises(SpansRefused) as refused:
        spans.accept(kind, b"x" * (MAX_BODY_BYTES + 1))
    assert refused.value.status == 413


def test_more_spans_than_the_bound_are_refused(spans: SpanFile) -> None:
    with pytest.raises(SpansRefused, match=f"more than {MAX_SPANS} spans"):
        spans.accept(PROTOBUF, export(*[Span()] * (MAX_SPANS + 1)))


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"null",
            b"[]",
            b"{",
            b'{"resourceSpans": 1}',
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"resourceSpans":[{"a":' * 9,
        ),
        *(json_export(startTimeUnixNano="-1"), json_export(startTimeUnixNano=1 << 70), json_export(name=7)),
        *(json_export(attributes=[{"key": 1}]), json_export(name="\ud800")),
    ],
)
def test_json_that_is_no_export_is_refused(spans: SpanFile, body: bytes) -> None:
    with pytest.raises(SpansRefused) as refused:
        spans.accept(JSON, body)
    assert refused.value.status == 400


@pytest.mark.parametrize("cut", range(1, len(export(span())) - 1, 7))
def test_protobuf_that_is_cut_is_refused_or_holds_fewer_spans(spans: SpanFile, cut: int) -> None:
    assert outcome(spans, PROTOBUF, export(span())[:cut]) in {0, 400}


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_garbage_is_refused_or_taken_as_nothing(spans: SpanFile, kind: str, body: bytes) -> None:
    assert outcome(spans, kind, body) in {0, 400}


def outcome(spans: SpanFile, kind: str, body: bytes) -> int:
    """Return how many spans were taken, else the status of the refusal."""
    try:
        return spans.accept(kind, body)
    except SpansRefused as refused:
        return refused.status


def test_a_span_without_proper_ids_is_left_out(spans: SpanFile) -> None:
    made = [Span(trace_id=b"short", span_id=b"x"), span("0" * 32), Span(), span()]
    assert spans.accept(PROTOBUF, export(*made)) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.url", "https://api.example.com/orders?api_key=canary"),
        ("url.full", "https://api.example.com/orders?page=canary"),
        ("url.query", "canary=1"),
        ("http.request.header.authorization", "canary"),
        ("note", "Bearer canary"),
    ],
)
def test_what_others_send_is_guarded_too(spans: SpanFile, tmp_path: Path, key: str, value: str) -> None:
    spans.accept(PROTOBUF, export(span(attributes=[text(key, value)])))
    assert "canary" not in (tmp_path / "traces" / "spans.jsonl").read_text()


def test_what_a_line_cannot_hold_is_left_out_or_shown_as_text(spans: SpanFile) -> None:
    infinite = KeyValue(key="rate", value=AnyValue(double_value=float("inf")))
    listed = KeyValue(key="list", value=AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)])))
    spans.accept(PROTOBUF, export(span(attributes=[infinite, listed])))
    assert spans.read(TRACE)[0].attributes == {"rate": "inf"}


def test_attributes_are_bounded_in_number_and_length(spans: SpanFile) -> None:
    spans.accept(PROTOBUF, export(span(attributes=[text(f"a{n}", "x" * 5000) for n in range(200)])))
    kept = spans.read(TRACE)[0].attributes
    assert (len(kept), {len(str(value)) for value in kept.values()}) == (64, {512})
