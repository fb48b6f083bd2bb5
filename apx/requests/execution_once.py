"""One call for one delivery, counted, timed and traced; its body kept, and passed on where the product streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import msgspec

from apx.catalog.model import ProductSpec, is_internal
from apx.clock import Clock
from apx.requests.execution_body import Body, keep
from apx.requests.execution_call import BackendAnswer, BackendClient, BackendFailure, Headers, request_of
from apx.requests.execution_stream import Emitter, pieces_for
from apx.requests.model import Delivery, Envelope
from apx.requests.ports import BlobStore, ResultStore
from apx.rollout.counts import Tally
from apx.telemetry import metrics
from apx.telemetry.tracing import Value, child, span_if_sampled

FIRST_FINAL, FIRST_FAILED, FIRST_AT_FAULT = 200, 400, 500


class Answered(msgspec.Struct, frozen=True):
    """An answer that has come whole."""

    status: int
    headers: Headers
    body: Body


class Caller:
    """Calls backends for deliveries."""

    def __init__(
        self, client: BackendClient, results: ResultStore, blobs: BlobStore, clock: Clock, tally: Tally
    ) -> None:
        self._tally = tally
        self._client = client
        self._results = results
        self._blobs = blobs
        self._clock = clock

    async def call(self, delivery: Delivery, spec: ProductSpec, *, left_s: float) -> Answered | BackendFailure:
        """Call once, for `left_s` at most. Raises `Unavailable` when the body cannot be kept."""
        envelope = delivery.envelope
        began_s = self._clock.monotonic()
        metrics.ATTEMPTS.inc(envelope.product)
        with span_if_sampled(envelope.traceparent, f"{envelope.method} backend", "client", _named(delivery)) as span:
            outcome = await self._answer(delivery, spec, left_s, span.traceparent or child(envelope.traceparent))
            if isinstance(outcome, Answered):
                span.set("http.response.status_code", outcome.status)
            else:
                span.fail(outcome.code)
        status = outcome.status if isinstance(outcome, Answered) else None
        duration_s = self._clock.monotonic() - began_s
        metrics.BACKEND_DURATION.observe(duration_s, envelope.product, metrics.status_class(status))
        failed = status is None or status >= FIRST_AT_FAULT
        if not is_internal(envelope.product):
            self._tally.answered(envelope.product, envelope.release, envelope.org, latency_s=duration_s, failed=failed)
        return outcome

    async def _answer(
        self, delivery: Delivery, spec: ProductSpec, left_s: float, traceparent: str
    ) -> Answered | BackendFailure:
        envelope = delivery.envelope
        timeout_s = min(envelope.timeout_s or spec.backend.timeout_s, left_s)
        request = request_of(envelope, spec, timeout_s=timeout_s, traceparent=traceparent)
        try:
            async with self._client.call(request) as answer:
                chunks = answer.chunks()
                if spec.backend.streaming and FIRST_FINAL <= answer.status < FIRST_FAILED:
                    chunks = self._emitting(delivery, answer, chunks)
                body = await keep(chunks, self._blobs, max_bytes=request.max_response_bytes)
                return Answered(answer.status, answer.headers, body)
        except BackendFailure as failure:
            return failure

    async def _emitting(
        self, delivery: Delivery, answer: BackendAnswer, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        async def append(kind: Literal["chunk", "restart"], data: str) -> None:
            await self._append(delivery.envelope, kind, data)

        emitter = Emitter(append, pieces_for(answer.headers), restart_first=delivery.attempt > 1)
        async for chunk in emitter.through(chunks):
            yield chunk

    async def _append(self, envelope: Envelope, kind: Literal["chunk", "restart"], data: str) -> None:
        await self._results.append_event(envelope.id, kind, data)
        if kind == "chunk":
            metrics.STREAM_CHUNKS.inc(envelope.product)


def _named(delivery: Delivery) -> dict[str, Value]:
    envelope = delivery.envelope
    return {"apx.product": envelope.product, "apx.request_id": envelope.id, "apx.attempt": delivery.attempt}
