"""The async way: admit, give a receipt, publish once, answer 202. The 202 is a promise: the publish is durable."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from apx.admission.admit import Admitted, Refused
from apx.clock import Clock
from apx.errors import Unavailable
from apx.limits.windows import Window
from apx.requests.idempotency import fingerprint, key_name, parse_key
from apx.requests.model import Envelope, Reserved
from apx.requests.ports import Bus
from apx.requests.receipt import Entropy, Receipts
from apx.telemetry import metrics
from services.router.forwarded import end_to_end

_REFUSED = {
    "backlog": Refused(
        status=429,
        code="backlog-full",
        detail="Too many requests of this org are waiting for this product.",
        retry_after_s=5,
    ),
    "conflict": Refused(
        status=422, code="idempotency-key-reused", detail="This Idempotency-Key was used with another request."
    ),
}
_KEY_INVALID = Refused(
    status=400, code="idempotency-key-invalid", detail="Idempotency-Key takes 1 to 255 printable ASCII characters."
)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A durable request."""

    id: str
    accepted_ms: int
    duplicate: bool
    """The client had asked for this before, with the same Idempotency-Key."""


class Acceptor:
    """Turns an admitted request into a durable one."""

    def __init__(self, bus: Bus, receipts: Receipts, clock: Clock) -> None:
        self._bus = bus
        self._receipts = receipts
        self._clock = clock
        self._random = Entropy()

    async def accept(self, admitted: Admitted, call: AcceptedCall) -> Accepted | Refused:
        """Publish; return once the request would survive. Raises `Unavailable`: then nothing was promised."""
        idempotency_key = call.headers.get("idempotency-key")
        name = ""
        if idempotency_key is not None:
            key = parse_key(idempotency_key)
            if key is None:
                return _KEY_INVALID
            name = key_name(admitted.key.org, admitted.product.name, key)
        envelope = self._envelope(admitted, call, name)
        try:
            published = await self._bus.publish(envelope)
        except Unavailable:
            metrics.ACCEPTS.inc(envelope.product, "failed")
            raise
        metrics.ACCEPTS.inc(envelope.product, published.outcome)
        refused = _REFUSED.get(published.outcome)
        if refused is not None:
            return refused
        return Accepted(id=published.id, accepted_ms=envelope.accepted_ms, duplicate=published.outcome == "duplicate")

    def _envelope(self, admitted: Admitted, call: AcceptedCall, record: str) -> Envelope:
        product, key, route = admitted.product, admitted.key, admitted.route
        spec = product.spec
        now_ms = int(self._clock.time() * 1000)
        request_id = self._receipts.mint(key.org, product.name, product.digest, now_ms, self._random)
        lane = spec.async_.lane
        return Envelope(
            id=request_id,
            org=key.org,
            key_id=key.id,
            product=product.name,
            release=product.digest,
            lane="org" if lane == "org" else key.id if lane == "key" else request_id,
            method=call.method,
            path=call.path,
            query=call.query,
            headers=end_to_end(call.headers, admitted.decision.headers),
            body=call.body,
            accepted_ms=now_ms,
            deadline_ms=now_ms + int(spec.async_.deadline_s * 1000),
            timeout_s=route.timeout_s or spec.backend.timeout_s,
            traceparent=call.traceparent,
            fingerprint=fingerprint(call.method, call.path, call.query, call.body) if record else "",
            idempotency=record,
            # As long as the request or its result may live, so that no repeat runs beside it; a day at least.
            idempotency_ttl_s=int(max(spec.async_.deadline_s + spec.async_.retention_s, 86_400)),
            backlog=spec.async_.backlog,
            plan=admitted.plan,
            cost=admitted.decision.cost,
            cost_usd=admitted.decision.cost_usd,
            reserved=_reserved(admitted),
        )


def _reserved(admitted: Admitted) -> tuple[Reserved, ...]:
    return tuple(
        Reserved(level.bucket, level.rate.ends_s, admitted.set_aside_usd)
        for level in admitted.budgets
        if isinstance(level.rate, Window)
    )


class AcceptedCall(msgspec.Struct, frozen=True, kw_only=True):
    """What of the client's request goes into the envelope."""

    path: str
    """Under the base path."""
    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    traceparent: str
