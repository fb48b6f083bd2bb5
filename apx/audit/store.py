"""Where the audit log is kept, and how an entry gets behind the last one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from apx.audit.checkpoint import Checkpoint
from apx.audit.entry import Change, Entry, Head, chained
from apx.errors import Conflict, Unavailable

MOST_AT_ONCE = 200
"""Entries of one append."""
MOST_CHECKPOINTS = 1000
"""That are kept; older ones say nothing that a later one does not."""
_TRY_FOR_S, _LONGEST_PAUSE_S = 10.0, 0.25
_dice = random.Random()  # noqa: S311 -- spreads those who were refused
T = TypeVar("T")


class Mirrored(msgspec.Struct, frozen=True, kw_only=True):
    """Moves `Head.mirrored`, and is refused when it is not at `before` any longer."""

    before: str
    after: str


class AuditStore(Protocol):
    """An append-only log.

    - `append` is atomic: all its entries and the new head are there, or nothing is. Of those who append at the same
      time each gets its place; nobody's entry is lost or overwritten. It is on the store's disk when it returns.
    - `at_ms` is the store's clock, and never goes back within the log.
    - Nothing of the port changes or removes an entry.
    - Raises `Unavailable` when the store does not answer; an append may then have happened or not.
    """

    async def append(self, changes: Sequence[Change], *, mirrored: Mirrored | None = None) -> list[Entry]:
        """Append up to `MOST_AT_ONCE` changes; return them as entries.

        Raises `Conflict` when `mirrored` does not start from where the head is; then nothing was appended.
        """
        ...

    async def read(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Return the entries behind a number, the oldest first."""
        ...

    async def head(self) -> Head:
        """Return where the log ends."""
        ...

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, the newest `MOST_CHECKPOINTS` of them; one of the same number is replaced."""
        ...

    async def checkpoints(self) -> list[Checkpoint]:
        """Return those that are kept, the oldest first."""
        ...


async def compare_and_append(
    look: Callable[[], Awaitable[tuple[Head, int, T]]],
    swap: Callable[[T, Head, list[Entry]], Awaitable[bool]],
    changes: Sequence[Change],
    mirrored: Mirrored | None,
) -> list[Entry]:
    """Append behind the head as `look` finds it, again and again until `swap` says that nobody was first.

    `look` returns the head, the store's clock (ms), and what `swap` compares by. Shared by the adapters.
    """
    if not 0 < len(changes) <= MOST_AT_ONCE:
        raise ValueError(f"{len(changes)} changes: an append takes 1 to {MOST_AT_ONCE}")
    loop = asyncio.get_running_loop()
    end, pause_s = loop.time() + _TRY_FOR_S, 0.005
    while True:
        head, now_ms, seen = await look()
        if mirrored is not None and head.mirrored != mirrored.before:
            raise Conflict(f"rollouts are mirrored up to {head.mirrored!r}, not {mirrored.before!r}: look again")
        entries = chained(head, changes, now_ms)
        last = entries[-1]
        position = mirrored.after if mirrored is not None else head.mirrored
        new = Head(number=last.number, hash=last.hash, at_ms=last.at_ms, mirrored=position)
        if await swap(seen, new, entries):
            return entries
        if loop.time() > end:
            raise Unavailable("appending to the audit log: others were always first; try again")
        await asyncio.sleep(_dice.uniform(0, pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
