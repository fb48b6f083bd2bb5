"""What the request's way needs from the outside: a bus with lanes, results with events, blobs.

Every adapter passes `tests/contract/` for its port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

from apx.requests.model import DeadLetter, Delivery, Envelope, Event, Problem, Progress, Result


class Published(msgspec.Struct, frozen=True):
    """What became of a publish.

    `accepted`: durable and queued under `id`. `duplicate`: the same idempotent request was accepted before, as `id`.
    `conflict`: that idempotency record holds another fingerprint. `backlog`: the org has too many waiting.
    """

    outcome: Literal["accepted", "duplicate", "conflict", "backlog"]
    id: str


class Bus(Protocol):
    """Lanes: first in, first out within one; fair by org across them.

    - `publish` returns only after the envelope would survive the kill of any process and, with the durable setting,
      the loss of power (for Valkey: `appendfsync always`). If it raises `Unavailable` the envelope may or may not be
      queued; nothing was promised. Envelopes published by one process to one lane keep their order.
    - The next envelope of a lane is delivered only when the one before is settled.
    - A product's orgs take turns: an org with 10,000 waiting delays another's by no more than the turns of the others.
    - No more than `concurrency_per_org` and the backend's `concurrency` are delivered at a time, over all workers.
    - Delivery is at least once. A lease that is not renewed passes the lane on, and the crash counts as an attempt.
    """

    async def publish(self, envelope: Envelope) -> Published:
        """Queue one request durably. Raises `Unavailable`."""
        ...

    async def receive(self, worker: str, products: Sequence[ProductBounds], room: int) -> list[Delivery]:
        """Take up to `room` deliveries, at most one of each lane; an empty list when nothing is due.

        Waits up to about a second for something to do. Raises `Unavailable`.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write results and hand lanes on, each in one atomic step. Raises `Unavailable`; safe to repeat."""
        ...

    async def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Renew leases; False where the lane has passed to somebody else or the request got its result elsewhere."""
        ...

    def cancellations(self) -> AsyncIterator[str]:
        """Yield ids of requests that were cancelled while they ran, within milliseconds.

        A hint: some may be missed, `extend` tells the truth. A worker that stops such a call settles it (with
        `release`), so that its lane goes on at once.
        """
        ...

    async def dead_letters(
        self, product: str | None = None, limit: int = 100, *, org: str | None = None
    ) -> list[DeadLetter]:
        """List the newest dead letters, newest first: all, a product's, an org's of it.

        At least the newest 10,000 of a product are kept; of an internal product, of each org.
        """
        ...

    async def forget_dead_letter(self, letter_id: str) -> bool:
        """Remove one dead letter (after a replay); False when it is gone already."""
        ...

    async def depth(self) -> dict[tuple[str, str], int]:
        """Count waiting and running requests by (product, org)."""
        ...


class ProductBounds(msgspec.Struct, frozen=True):
    """How much of one product may be in flight at a time, over all workers."""

    product: str
    concurrency: int
    concurrency_per_org: int


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of a delivery: exactly one of `result`, `retry_after_s` or `release` (hand back untouched)."""

    delivery: Delivery
    result: Result | None = None
    dead_letter: Problem | None = None
    """With `result`: put the envelope into the dead letters too, with this reason."""
    retry_after_s: float | None = None
    """Deliver again after this time; the lane waits (order is kept)."""
    release: bool = False
    """Hand the lane back at once, the attempt not counted (a worker that drains)."""
    take_next: bool = False
    """With `result`: when the lane has more and the org's turn allows, deliver its next under the same lease."""


class Settled(msgspec.Struct, frozen=True):
    """Whether the settlement counted (False: the fence was old, or there was a result already), and the lane's next."""

    counted: bool
    next: Delivery | None = None


class ResultStore(Protocol):
    """The one terminal state of each request, and what happens on the way there.

    A result is created if absent and never changes. Reads after a `settle` that counted see it. A result is kept for
    its `retention_s` and not less.
    """

    async def get(self, request_id: str) -> Result | Progress | None:
        """Return the result, else the progress, else None when nothing is known of the id. Raises `Unavailable`."""
        ...

    async def wait(self, request_id: str, timeout_s: float) -> Result | Progress | None:
        """Like `get`, but stay up to `timeout_s` for the result; answers within 50 ms of it."""
        ...

    async def put_if_absent(self, result: Result) -> Result:
        """Write a terminal state from outside a delivery (a cancellation); return the one that stands."""
        ...

    async def append_event(self, request_id: str, kind: Literal["chunk", "restart"], data: str) -> None:
        """Add to the request's event stream; bounded: the oldest entries go first."""
        ...

    def events(self, request_id: str, after: str = "") -> AsyncIterator[Event]:
        """Yield the stream from after the event id `after`, then what comes, ending with the terminal state."""
        ...


class BlobStore(Protocol):
    """Large bodies by content. A blob is visible only when whole, and its digest is checked as it is read."""

    async def put(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store a stream durably; return (digest, size). Raises `Unsupported` over `max_bytes`."""
        ...

    def get(self, digest: str) -> AsyncIterator[bytes]:
        """Stream a blob. Raises `NotFound`, or `Unavailable` when its content is not what the digest says."""
        ...

    async def expire(self, *, older_than_s: float) -> int:
        """Remove blobs that were stored longer ago; return how many."""
        ...
