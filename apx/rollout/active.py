"""Which release of each product is live: the one truth, in a store, changed only by compare-and-swap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from apx.rollout.model import Rollout, Verdict

MOST_ABORTED = 50
MOST_EVENTS = 10_000
"""Changes of all products that can be caught up with."""


class Aborted(msgspec.Struct, frozen=True, kw_only=True):
    """A release that was taken back: it is not rolled out again without a reason."""

    digest: str
    at_ms: int
    reason: str


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """What one product runs: its stable release, and the rollout that is under way or was the last."""

    product: str
    stable: str
    """Digest of the release that serves."""
    previous: str | None = None
    """The one that served before; what a rollback goes to."""
    rollout: Rollout | None = None
    """The rollout under way, or the last one."""
    waiting: Rollout | None = None
    """A newer candidate, `pending`, that starts when the one under way has ended."""
    aborted: tuple[Aborted, ...] = ()
    """The newest last, `MOST_ABORTED` at most."""
    revision: int = 0
    """Grows with each change of this product; 0 stands for 'never set'."""

    @property
    def candidate(self) -> str | None:
        """Return the digest of the release beside the stable one; None while no rollout is under way."""
        return self.rollout.candidate if self.rollout is not None and self.rollout.under_way else None

    def was_aborted(self, digest: str) -> Aborted | None:
        """Return when and why a release was taken back."""
        return next((one for one in reversed(self.aborted) if one.digest == digest), None)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All products at one moment."""

    revision: int = 0
    """Grows with each change of any product."""
    products: dict[str, Active] = {}


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what, when and why; written in the same step as the change."""

    at_ms: int
    actor: str
    action: str
    product: str
    before: str | None
    after: str
    why: str = ""
    rollout: str = ""
    """The rollout that was moved."""
    state: str = ""
    """The state that it came into, with the step where there are several: `canary 2/3`."""
    verdict: Verdict | None = None
    """The evidence, where a verdict decided."""
    source: str = ""
    """From where: the address that called, or the machine; empty for the platform's own processes."""


class RolloutStore(Protocol):
    """Live state and its audit entries.

    - `change` is atomic: the new state and its entry are both there or neither is.
    - A reader sees its own writes; `watch` yields a snapshot at once, after each change (within a second: by push, with
      a poll as the fallback), and every few seconds as a sign of life. It never goes back to an older revision.
    - `events` yields every change of any product once and in the order of the changes, by the same push and poll. The
      store keeps about `MOST_EVENTS` of them: who was away for longer goes on with the oldest that is left.
    - Raises `Unavailable` when the store does not answer; a process then goes on with what it knows.
    """

    async def read(self) -> Snapshot:
        """Return the live state of all products."""
        ...

    async def change(self, new: Active, audit: AuditEntry) -> Active:
        """Set a product's state when its revision still is `new.revision`; return it with the next revision.

        Raises `Conflict` when somebody else was first.
        """
        ...

    def watch(self) -> AsyncIterator[Snapshot]:
        """Yield the live state now, whenever it changes, and every few seconds."""
        ...

    async def history(self, product: str, limit: int = 50) -> list[AuditEntry]:
        """Return the newest entries of a product, newest first."""
        ...

    def events(self, after: str = "") -> AsyncIterator[tuple[str, AuditEntry]]:
        """Yield every change with its position: those after the position `after`, or from now on without one.

        A position that is none of the store's begins with the oldest that is kept; `0` is one. Ends with `Unavailable`
        when the store goes; the caller goes on with the last position that it saw.
        """
        ...

    async def now_ms(self) -> int:
        """Return the store's clock, in milliseconds since the epoch: what all stored times are by."""
        ...


class Leases(Protocol):
    """Who leads: at most one holder of a name at a time, by the store's clock.

    A lease says who should act, not who may write: every change is a compare-and-swap, so one who has lost the lease
    without noticing is refused there. It runs from before the answer: a holder counts `ttl_s` from when it asked.
    """

    async def hold(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take the lease or renew it; False while somebody else holds it.

        Raises `Unavailable`; then it may be ours, or not any longer.
        """
        ...

    async def release(self, name: str, holder: str) -> None:
        """Give the lease up, if it is ours. Raises `Unavailable`."""
        ...
