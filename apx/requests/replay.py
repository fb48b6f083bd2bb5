"""Queue a dead letter again: the same call, a new id, a new deadline of the same length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import msgspec

from apx.clock import Clock
from apx.errors import Conflict, NotFound
from apx.requests.model import DeadLetter, Envelope
from apx.requests.ports import Bus
from apx.requests.receipt import Receipts

MOST_LOOKED_AT = 10_000
Recorded = Callable[[DeadLetter, Envelope], AbstractAsyncContextManager[None]]
"""Entered before a letter is queued again as a new envelope, with the queuing inside."""


async def replay_letters(
    bus: Bus,
    letter_ids: Sequence[str],
    receipts: Receipts,
    clock: Clock,
    random: Callable[[int], bytes],
    *,
    product: str | None = None,
    org: str | None = None,
    recorded: Recorded = lambda _, __: nullcontext(),
) -> list[tuple[str, str]]:
    """Queue dead letters again; return each one's request and the id of the new one. `product`, `org`: where to look.

    Raises `NotFound` for unknown letters, and then nothing was queued; `Conflict` when an org's backlog is full, and
    then those before it were.
    """
    letters = {letter.id: letter for letter in await bus.dead_letters(product, MOST_LOOKED_AT, org=org)}
    unknown = [letter_id for letter_id in letter_ids if letter_id not in letters]
    if unknown:
        raise NotFound(f"no dead letter {', '.join(unknown)}; `apx dlq list` shows them")
    done: list[tuple[str, str]] = []
    for letter_id in dict.fromkeys(letter_ids):
        again = replayed(letters[letter_id], receipts, clock, random)
        async with recorded(letters[letter_id], again):
            published = await bus.publish(again)
            if published.outcome != "accepted":
                raise Conflict(f"{letter_id} is kept: the org's backlog is full; {len(done)} were queued before it")
        await bus.forget_dead_letter(letter_id)
        done.append((letters[letter_id].envelope.id, published.id))
    return done


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
        reserved=tuple(msgspec.structs.replace(one, usd=0.0) for one in old.reserved),  # charged when it has its result
    )
