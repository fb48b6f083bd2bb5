"""What the worker says of each settlement: counters for all, one canonical line for those that end a request."""

from __future__ import annotations

from apx.requests.execution import Carried
from apx.telemetry import metrics
from apx.telemetry.logs import canonical
from apx.telemetry.tracing import trace_id


def report(carried: Carried, *, counted: bool, duration_s: float, log: bool) -> None:
    """Count and log; neither bodies nor headers are shown."""
    settlement = carried.settlement
    envelope = settlement.delivery.envelope
    if settlement.result is None:
        if carried.cause:
            metrics.RETRIES.inc(envelope.product, carried.cause)
        return
    if not counted:
        return  # somebody else's result stands, and they have told of it
    result = settlement.result
    metrics.RESULTS.inc(envelope.product, result.state)
    if settlement.dead_letter is not None:
        metrics.DEAD_LETTERS.inc(envelope.product, settlement.dead_letter.code)
    if log:
        canonical(
            "request-finished",
            request_id=envelope.id,
            org=envelope.org,
            product=envelope.product,
            release=envelope.release,
            state=result.state,
            attempts=result.attempts,
            backend_status=carried.status,
            reason=carried.reason,
            detail=carried.detail,
            dead_letter=settlement.dead_letter is not None,
            body_bytes=result.body_bytes,
            duration_ms=round(duration_s * 1000, 2),
            age_ms=result.finished_ms - result.accepted_ms,
            trace_id=trace_id(envelope.traceparent),
        )
