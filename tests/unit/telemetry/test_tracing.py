import threading
import timeit
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from apx.errors import Conflict
from apx.telemetry import tracing
from apx.telemetry.exporter import provider
from apx.telemetry.metrics import SPANS_DROPPED
from apx.telemetry.tracing import NO_SPAN, child, parse, span_if_sampled, trace_id

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"

pytestmark = pytest.mark.usefixtures("no_tracing")


@pytest.fixture
def exported(no_tracing: None) -> InMemorySpanExporter:
    del no_tracing
    exporter = InMemorySpanExporter()
    tracing.configure("router", "", exporter=exporter)
    return exporter


def finished(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, ...]:
    tracing.shutdown()
    return exporter.get_finished_spans()


def test_a_sampled_request_makes_a_span_under_its_parent(exported: InMemorySpanExporter) -> None:
    with span_if_sampled(SAMPLED, "POST /orders", "server", {"http.request.method": "POST"}) as span:
        span.set("http.response.status_code", 202)
    (made,) = finished(exported)
    assert made.parent is not None
    assert made.context is not None
    assert (f"{made.context.trace_id:032x}", f"{made.parent.span_id:016x}") == (TRACE, PARENT)
    assert dict(made.attributes or {}) == {"http.request.method": "POST", "http.response.status_code": 202}
    assert made.resource.attributes["service.name"] == "apx-router"


def test_the_workers_span_continues_the_envelopes_trace(exported: InMemorySpanExporter) -> None:
    with span_if_sampled(SAMPLED, "accept", "producer") as accept:
        envelope_traceparent = accept.traceparent
    with span_if_sampled(envelope_traceparent, "process orders", "consumer"):
        pass
    router, worker = finished(exported)
    assert worker.parent is not None
    assert router.context is not None
    assert (worker.parent.trace_id, worker.parent.span_id) == (router.context.trace_id, router.context.span_id)


@pytest.mark.parametrize("traceparent", [UNSAMPLED, "", "garbage", "00-" + "0" * 32 + f"-{PARENT}-01"])
def test_a_request_that_is_not_sampled_makes_no_span(exported: InMemorySpanExporter, traceparent: str) -> None:
    span = span_if_sampled(traceparent, "POST /orders", "server")
    with span:
        span.set("http.response.status_code", 202)
        span.fail("timeout")
    assert span is NO_SPAN
    assert finished(exported) == ()


def test_without_an_endpoint_nothing_is_recorded() -> None:
    tracing.configure("router", "")
    assert span_if_sampled(SAMPLED, "POST /orders") is NO_SPAN


def test_a_span_of_a_failing_block_has_the_errors_code_and_not_its_text(exported: InMemorySpanExporter) -> None:
    with pytest.raises(Conflict), span_if_sampled(SAMPLED, "POST /orders"):
        raise Conflict("canary")
    (made,) = finished(exported)
    assert (made.attributes or {})["error.type"] == "conflict"
    assert made.status.status_code.name == "ERROR"
    assert "canary" not in made.to_json()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url.query", "canary=1"),
        ("url.full", "https://example.com/?canary=1"),
        ("http.request.header.authorization", "canary"),
        ("http.request.body", "canary"),
        ("url.path", "/orders?token=canary"),
        ("note", "Bearer canary"),
        ("key", "apx_live_canary0canary0canary0canary0canar"),
    ],
)
def test_no_attribute_carries_a_query_a_credential_or_a_body(
    exported: InMemorySpanExporter, name: str, value: str
) -> None:
    with span_if_sampled(SAMPLED, "POST /orders", "server", {name: value}):
        pass
    (made,) = finished(exported)
    assert "canary" not in made.to_json()


def test_a_long_attribute_is_cut(exported: InMemorySpanExporter) -> None:
    with span_if_sampled(SAMPLED, "POST /orders", "server", {"url.path": "/" + "x" * 100_000}):
        pass
    (made,) = finished(exported)
    assert len(str((made.attributes or {})["url.path"])) == 256


@pytest.mark.parametrize(
    "header",
    [
        *("", "00", f"00-{TRACE}-{PARENT}", f"00-{TRACE}-{PARENT}-1", f"ff-{TRACE}-{PARENT}-01", f"{SAMPLED}-extra"),
        *(SAMPLED.upper(), f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"{SAMPLED}\n", f" {SAMPLED}"),
        *(SAMPLED.replace("4", "g"), SAMPLED.replace("4", "\u0664")),
    ],
)
def test_what_is_not_a_traceparent_is_not_taken_for_one(header: str) -> None:
    assert (parse(header), trace_id(header)) == (None, "")
    assert child(header).endswith("-00")
    assert parse(child(header)) is not None


def test_a_traceparent_of_a_later_version_is_read_by_what_is_known_and_handed_on_as_version_00() -> None:
    later = f"cc-{TRACE}-{PARENT}-01-what-the-future-brings"
    assert (trace_id(later), child(later)) == (TRACE, SAMPLED)


def test_an_envelope_keeps_the_trace_where_no_span_was_recorded() -> None:
    assert child(UNSAMPLED) == UNSAMPLED


def test_two_requests_without_a_traceparent_get_two_traces() -> None:
    assert trace_id(child("")) != trace_id(child(""))


class Stuck(SpanExporter):
    def __init__(self) -> None:
        self.go_on = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        self.go_on.wait(30)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.go_on.set()


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        return SpanExportResult.FAILURE


def test_spans_beyond_the_queue_are_dropped_and_counted() -> None:
    before = SPANS_DROPPED.value("full")
    made = provider("router", Stuck(), queue_spans=8)
    for _ in range(20):
        made.get_tracer("apx").start_span("x").end()
    made.shutdown()
    assert SPANS_DROPPED.value("full") - before == 12


def test_spans_that_are_not_taken_are_counted() -> None:
    before = SPANS_DROPPED.value("export")
    made = provider("router", Broken())
    made.get_tracer("apx").start_span("x").end()
    made.shutdown()
    assert SPANS_DROPPED.value("export") - before == 1


class Receiver(BaseHTTPRequestHandler):
    got: list[tuple[str, str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    Receiver.got = []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_spans_are_posted_to_the_endpoint(receiver: HTTPServer) -> None:
    tracing.configure("worker", f"http://127.0.0.1:{receiver.server_address[1]}/otlp")
    with span_if_sampled(SAMPLED, "process orders", "consumer"):
        pass
    tracing.shutdown()
    ((path, kind, body),) = Receiver.got
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert (path, kind) == ("/otlp/v1/traces", "application/x-protobuf")
    assert resource.scope_spans[0].spans[0].name == "process orders"


def test_shutdown_does_not_wait_for_an_endpoint_that_is_not_there() -> None:
    tracing.configure("worker", "http://127.0.0.1:9")
    with span_if_sampled(SAMPLED, "process orders"):
        pass
    assert timeit.timeit(tracing.shutdown, number=1) < 8.0


def test_an_unsampled_request_costs_a_tenth_of_a_sampled_one(exported: InMemorySpanExporter) -> None:
    del exported

    def best(traceparent: str) -> float:
        def request() -> None:
            with span_if_sampled(traceparent, "x", "server") as span:
                span.set("a", 1)

        return min(timeit.repeat(request, number=200, repeat=5))

    assert best(UNSAMPLED) < best(SAMPLED) / 10
