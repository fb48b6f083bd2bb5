"""Sending again what was given up: under the same `webhook-id`, so that a receiver that has it does nothing twice."""

from __future__ import annotations

import hashlib

import msgspec

from apx.clock import Clock
from apx.errors import Conflict
from apx.requests.model import DeadLetter, Envelope
from apx.requests.ports import Bus
from apx.webhooks.forward import DEADLINE_S, QUEUED_ONCE_S
from apx.webhooks.model import PRODUCT, Webhook

MOST_LETTERS = 20_000
"""All that a webhook has: no more may wait for it, and as many are kept."""


async def forget_deliveries(bus: Bus, webhook_id: str) -> int:
    """Remove the dead letters of a webhook that was deleted; return how many. Raises `Unavailable`; safe to repeat."""
    letters = await bus.dead_letters(PRODUCT, MOST_LETTERS, org=webhook_id)
    return sum([await bus.forget_dead_letter(letter.id) for letter in letters])


async def replay_deliveries(bus: Bus, webhook: Webhook, clock: Clock, *, since_ms: int = 0) -> int:
    """Queue a webhook's dead letters again, those first that were given up first; return how many.

    `since_ms`: only what was given up from then on. One that dies half-way may be repeated: what is queued already is
    not queued again. Raises `Unavailable`, and `Conflict` when too many wait: then those before it are queued.
    """
    newest_first = await bus.dead_letters(PRODUCT, MOST_LETTERS, org=webhook.id)
    letters = [one for one in reversed(newest_first) if one.at_ms >= since_ms]
    for queued, letter in enumerate(letters):
        published = await bus.publish(again(letter, webhook, int(clock.time() * 1000)))
        if published.outcome == "backlog":
            raise Conflict(f"{len(letters) - queued} of {len(letters)} are kept: too many wait; replay them later")
        await bus.forget_dead_letter(letter.id)
    return len(letters)


def again(letter: DeadLetter, webhook: Webhook, now_ms: int) -> Envelope:
    """Return the delivery to queue: another request, as the first one keeps its result, with the same headers."""
    request_id = "msg_" + hashlib.sha256(f"{letter.id}\n{letter.envelope.id}".encode()).hexdigest()[:32]
    return msgspec.structs.replace(
        letter.envelope,
        id=request_id,
        lane="" if webhook.ordered else request_id,
        accepted_ms=now_ms,
        deadline_ms=now_ms + int(DEADLINE_S * 1000),
        fingerprint=request_id,
        idempotency=request_id,
        idempotency_ttl_s=QUEUED_ONCE_S,
    )
