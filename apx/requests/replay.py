"""Queue a dead letter again: the same call, a new id, a new deadline of the same length."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from apx.clock import Clock
from apx.requests.model import DeadLetter, Envelope
from apx.requests.receipt import Receipts


def replayed(letter: DeadLetter, receipts: Receipts, clock: Clock, random: Callable[[int], bytes]) -> Envelope:
    """Return the envelope to publish. It is a request of its own: the first one keeps its failed result."""
    old = letter.envelope
    now_ms = int(clock.time() * 1000)
    request_id = receipts.mint(old.org, old.product, old.release, now_ms, random)
    return msgspec.structs.replace(
        old,
        id=request_id,
        lane=request_id if old.lane == old.id else old.lane,
        accepted_ms=now_ms,
        deadline_ms=now_ms + (old.deadline_ms - old.accepted_ms),
        idempotency="",
        fingerprint="",
    )
