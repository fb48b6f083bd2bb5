"""One request and its answer, as the log and the metrics see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from apx.admission.keys import KeyRecord
from apx.clock import Clock
from apx.telemetry import logs, metrics
from apx.telemetry.tracing import span_if_sampled
from services.router.asgi import HeaderList, Reply, Scope, Send, encode

_WITHOUT_LENGTH = (204, 304)
"""Answers that never have a body, and whose length would be said of another one (RFC 9110, section 8.6)."""


class Exchange:
    """What is known of a request while it is answered; told once, at its end."""

    __slots__ = (
        "caller",
        "code",
        "headers",
        "method",
        "operation_id",
        "path",
        "product",
        "query",
        "release",
        "request_id",
        "started",
        "status",
        "traceparent",
    )

    def __init__(self, scope: Scope, headers: dict[str, str], path: str, clock: Clock) -> None:
        self.started = clock.monotonic()
        self.method: str = scope["method"]
        self.path = path
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers = headers
        self.request_id = headers.get("x-request-id", "")[:64]
        self.traceparent = headers.get("traceparent", "")
        self.product = ""
        self.release = ""
        self.caller: KeyRecord | None = None
        self.operation_id = ""
        self.status = 0
        self.code = ""

    @contextmanager
    def span(self) -> Iterator[None]:
        """Record the answering of a sampled request; what is published meanwhile becomes a child of it."""
        attributes = {"http.request.method": self.method, "url.path": self.path}
        with span_if_sampled(self.traceparent, "router", "server", attributes) as span:
            self.traceparent = span.traceparent or self.traceparent
            try:
                yield
            finally:
                span.set("http.response.status_code", self.status)
                span.set("apx.product", self.product)
                span.set("apx.operation", self.operation_id)

    async def reply(self, send: Send, reply: Reply) -> None:
        """Send a whole answer."""
        self.code = reply.code
        fields = encode(reply.headers)
        if reply.status not in _WITHOUT_LENGTH:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        await self.start(send, reply.status, fields)
        await send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else reply.body})

    async def start(self, send: Send, status: int, headers: HeaderList) -> None:
        """Send an answer's status and fields."""
        self.status = status
        await send({"type": "http.response.start", "status": status, "headers": headers})

    def tell(self, clock: Clock, *, log: bool) -> None:
        """Count the exchange, and write its one line."""
        metrics.RESPONSES.inc(self.product, metrics.status_class(self.status or 499))
        if log:
            logs.canonical("request", **self._line(clock))

    def _line(self, clock: Clock) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "operation": self.operation_id,
            "method": self.method,
            "path": self.path,
            "product": self.product,
            "release": self.release[7:19],
            "org": self.caller.org if self.caller else "",
            "key": self.caller.id if self.caller else "",
            "status": self.status or 499,
            "code": self.code,
            "duration_ms": round((clock.monotonic() - self.started) * 1000, 3),
            "trace_id": self.traceparent[3:35],
        }
