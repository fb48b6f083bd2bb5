"""The bus on Google Cloud: Pub/Sub keeps what was accepted, Valkey deals it out, Firestore holds what came of it.

Pub/Sub has order and durability; it has no bound on an org, no turns, no fence (ADR 6). So the lanes are Valkey's, and
may be lost: what they lose, the journal offers again, and a result in Firestore stands against whatever runs twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from apx.backends.gcp.documents import Documents, Recorded
from apx.backends.gcp.journal import Journal
from apx.backends.gcp.recovery import LOOK_EVERY_S, Recovery
from apx.backends.gcp.results import JournaledResults
from apx.backends.gcp.usage import PubSubUsage
from apx.backends.valkey.bus import Origin, ValkeyBus, letter_of
from apx.errors import Unavailable
from apx.requests.model import DeadLetter, Delivery, Envelope, Result
from apx.requests.ports import ProductBounds, Published, Settled, Settlement
from apx.usage.events import UsageEvent, accepted, event_of

SETTLED_S = 60.0
"""A request whose record is younger than this may still be on its way: who repeats it does not look for its result."""


class JournaledBus:
    """The bus of one process."""

    def __init__(
        self,
        lanes: ValkeyBus,
        journal: Journal,
        documents: Documents,
        results: JournaledResults,
        usage: PubSubUsage,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """Deal out with `lanes`, a journaled bus; read the journal from the first `receive` on."""
        self._lanes = lanes
        self._journal = journal
        self._documents = documents
        self._results = results
        self._usage = usage
        self._recovery = Recovery(lanes, journal, documents, usage, look_every_s=look_every_s)

    async def publish(self, envelope: Envelope) -> Published:
        """Queue one request; it is in the journal when this returns. Raises `Unavailable`, `Unsupported`."""
        if not envelope.idempotency:
            return await self._enter(envelope)
        record = await self._documents.record(
            envelope.idempotency, envelope.id, envelope.fingerprint, envelope.idempotency_ttl_s
        )
        if record.created:
            return await self._enter_first(envelope)
        return await self._repeat(envelope, record)

    async def receive(self, worker: str, products: Sequence[ProductBounds], room: int) -> list[Delivery]:
        """Take up to `room` deliveries."""
        self._recovery.watch([bounds.product for bounds in products])
        return await self._lanes.receive(worker, products, room)

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write results where they stay, tell the usage of them, then hand the lanes on.

        A stale worker is seen by its fence before anything is written. Should the lane pass on just then, the result
        that was created first stands, and the other attempt's does not count. What the lanes hear of as settled was
        told: who dies before leaves an entry in the journal that the lanes do not know as settled.
        """
        ended = [one for one in settlements if one.result is not None]
        held = await self._lanes.extend([one.delivery for one in ended])
        live = [one for one, ours in zip(ended, held, strict=True) if ours]
        standing = await asyncio.gather(*(self._conclude(one) for one in live))
        await self._usage.tell([_event(one, result) for one, result in zip(live, standing, strict=True)])
        found = {id(one): result for one, result in zip(live, standing, strict=True)}
        settled = await self._lanes.settle([_dealt(one, found.get(id(one))) for one in settlements])
        return [
            await self._counted(one, found.get(id(one)), answer)
            for one, answer in zip(settlements, settled, strict=True)
        ]

    async def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Renew leases."""
        return await self._lanes.extend(deliveries)

    def cancellations(self) -> AsyncIterator[str]:
        """Yield ids of requests that were cancelled while they ran."""
        return self._lanes.cancellations()

    async def dead_letters(
        self, product: str | None = None, limit: int = 100, *, org: str | None = None
    ) -> list[DeadLetter]:
        """List the newest dead letters, newest first."""
        return await self._documents.letters(product, limit, org=org)

    async def forget_dead_letter(self, letter_id: str) -> bool:
        """Remove one dead letter."""
        return await self._documents.forget_letter(letter_id)

    async def depth(self) -> dict[tuple[str, str], int]:
        """Count waiting and running requests by (product, org)."""
        return await self._lanes.depth()

    async def aclose(self) -> None:
        """Stop reading the journal, send what waits; the clients stay open."""
        await self._recovery.aclose()
        await self._journal.aclose()
        await self._lanes.aclose()

    async def _enter(self, envelope: Envelope, *, origin: Origin = "client") -> Published:
        """Deal out, then keep. Lanes that are away deal it out later, from the journal."""
        published = Published("accepted", envelope.id)
        with suppress(Unavailable):
            published = await self._lanes.publish(envelope, origin=origin)
        if published.outcome != "backlog":
            await self._journal.write(envelope)
        return published

    async def _enter_first(self, envelope: Envelope) -> Published:
        published = await self._enter(envelope)
        if published.outcome == "backlog":
            await self._documents.forget_record(envelope.idempotency)
            return published
        return Published("accepted", envelope.id)

    async def _repeat(self, envelope: Envelope, record: Recorded) -> Published:
        if record.fingerprint != envelope.fingerprint:
            return Published("conflict", record.id)
        if await self._may_be_lost(envelope, record):
            # Whoever was first may have died before the journal had it. Under its id, a second entry changes nothing.
            await self._enter(msgspec.structs.replace(envelope, id=record.id), origin="repeat")
        return Published("duplicate", record.id)

    async def _may_be_lost(self, envelope: Envelope, record: Recorded) -> bool:
        """Tell whether the first one may still run and has no result, which is kept for longer than that."""
        if record.age_s < SETTLED_S:
            return True
        may_run = record.age_s * 1000 < envelope.deadline_ms - envelope.accepted_ms
        return may_run and await self._documents.result(record.id) is None

    async def _conclude(self, settlement: Settlement) -> Result:
        assert settlement.result is not None  # noqa: S101 -- for the type checker; the caller has chosen
        return await self._documents.conclude(settlement.result)

    async def _counted(self, settlement: Settlement, standing: Result | None, answer: Settled) -> Settled:
        if standing is None:
            return answer
        counted = standing == settlement.result
        if counted and (letter := letter_of(settlement)) is not None:
            await self._documents.bury(letter)
        if not answer.counted:  # the lane passed on in between, or another result was first
            await self._results.remember(standing)
        return Settled(counted, answer.next)


def _dealt(settlement: Settlement, standing: Result | None) -> Settlement:
    """Return what the lanes are told: the result that stands, and nothing that they would have to keep."""
    return msgspec.structs.replace(settlement, result=standing or settlement.result, dead_letter=None)


def _event(settlement: Settlement, result: Result) -> UsageEvent:
    return event_of(accepted(settlement.delivery.envelope), result)
