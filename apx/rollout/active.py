"""Which release of each product is live: the one truth, in a store, changed only by compare-and-swap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """One product's live release."""

    product: str
    stable: str
    """Digest of the release that serves."""
    previous: str | None = None
    """The one that served before; what a rollback goes to."""
    revision: int = 0
    """Grows with each change of this product; 0 stands for 'never set'."""


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


class RolloutStore(Protocol):
    """Live state and its audit entries.

    - `change` is atomic: the new state and its entry are both there or neither is.
    - A reader sees its own writes; `watch` yields a snapshot at once, after each change (within a second: by push, with
      a poll as the fallback), and every few seconds as a sign of life. It never goes back to an older revision.
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
