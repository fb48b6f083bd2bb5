"""Envelopes, results and settlements for examples."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from apx.requests.model import Delivery, Envelope, Problem, Result, State
from apx.requests.ports import Bus, ProductBounds, Settlement

BOUNDS = (ProductBounds("orders", 100, 100),)
_numbers = itertools.count()

_EXAMPLE = Envelope(
    id="",
    org="acme",
    key_id="k1",
    product="orders",
    release="sha256:aa",
    lane="org",
    method="POST",
    path="/",
    query="",
    headers=(("content-type", "application/json"),),
    body=b"{}",
    accepted_ms=1,
    deadline_ms=2,
    timeout_s=1.0,
)


def envelope(**changes: Any) -> Envelope:
    """Return an envelope with a new id; the lane is the org's."""
    return msgspec.structs.replace(_EXAMPLE, **{"id": f"req_{next(_numbers)}", **changes})


def result(of: Envelope | Delivery, state: State = "succeeded", **changes: Any) -> Result:
    """Return a result for a request."""
    request = of.envelope if isinstance(of, Delivery) else of
    values = {
        "id": request.id,
        "org": request.org,
        "product": request.product,
        "release": request.release,
        "state": state,
        "accepted_ms": request.accepted_ms,
        "finished_ms": 5,
        "body": b"done",
        **changes,
    }
    return Result(**values)


def done(delivery: Delivery, *, take_next: bool = False, dead_letter: Problem | None = None) -> Settlement:
    """Return a settlement with a result that names its attempt."""
    outcome = result(delivery, attempts=delivery.attempt)
    return Settlement(delivery=delivery, result=outcome, take_next=take_next, dead_letter=dead_letter)


async def take(
    bus: Bus, room: int = 100, bounds: tuple[ProductBounds, ...] = BOUNDS, worker: str = "w"
) -> list[Delivery]:
    """Receive until something is delivered, at most a few seconds."""
    for _ in range(200):
        if taken := await bus.receive(worker, bounds, room):
            return taken
    return []


async def take_one(bus: Bus) -> Delivery:
    """Receive exactly one delivery."""
    [delivery] = await take(bus, room=1)
    return delivery
