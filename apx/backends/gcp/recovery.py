"""Reading the journal: what has a result is closed, what the lanes have lost is dealt out again.

An entry is closed only when the usage of its request was told: by who settled it, which the lanes know, else here.

Each process that takes deliveries reads along, and Pub/Sub shares the entries out among them. An entry is held from its
reading to its result and looked at every second, so that what the lanes lose comes back within that; a process that
dies leaves its entries to the others after `ACK_DEADLINE_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from apx.backends.gcp.documents import Documents
from apx.backends.gcp.journal import ACK_DEADLINE_S, MOST_ENTRIES, Entry, Journal
from apx.backends.gcp.usage import PubSubUsage
from apx.backends.valkey.bus import Known, ValkeyBus
from apx.backends.valkey.notices import end
from apx.errors import ApxError, Misconfigured
from apx.telemetry import metrics
from apx.usage.events import UsageEvent, accepted, event_of

LOOK_EVERY_S = 1.0
MOST_HELD = 10_000
"""Entries of one product that one process holds; what is more stays with Pub/Sub until some have ended."""
PAUSE_S, ABSENT_S = 1.0, 60.0
"""After a failure, and where there is no journal."""

_log = structlog.get_logger(__name__)


class Recovery:
    """Reads the journals of the products that it was shown, in the background."""

    def __init__(
        self,
        lanes: ValkeyBus,
        journal: Journal,
        documents: Documents,
        usage: PubSubUsage,
        *,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._lanes = lanes
        self._journal = journal
        self._documents = documents
        self._usage = usage
        self._look_every_s = look_every_s
        self._holders: dict[str, Holder] = {}

    def watch(self, products: Sequence[str]) -> None:
        """Read the journals of these products too from now on."""
        for product in set(products) - self._holders.keys():
            holder = Holder(product, self._lanes, self._journal, self._documents, self._usage)
            self._holders[product] = holder
            holder.start(self._look_every_s)

    async def aclose(self) -> None:
        """Stop reading, and leave what is held to others."""
        await asyncio.gather(*(holder.aclose() for holder in self._holders.values()))
        self._holders.clear()


class Holder:
    """The entries of one product that this process holds."""

    def __init__(
        self, product: str, lanes: ValkeyBus, journal: Journal, documents: Documents, usage: PubSubUsage
    ) -> None:
        self._product = product
        self._lanes = lanes
        self._journal = journal
        self._documents = documents
        self._usage = usage
        self._held: dict[str, Entry] = {}
        self._extended = 0.0
        self._looking = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, look_every_s: float) -> None:
        """Read and look from now on."""
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._look(look_every_s))]

    async def aclose(self) -> None:
        """Stop, and let what is held come to somebody else at once."""
        await asyncio.gather(*(end(task) for task in self._tasks))
        with suppress(ApxError):
            await self._postpone(list(self._held.values()), 0)

    async def _read(self) -> None:
        while True:
            try:
                entries = await self._journal.read(self._product)
                self.hold(entries)
                if "no" in await self._lanes.known([entry.envelope for entry in entries]):
                    await self.look()  # with all that is held: an older one of a lane goes first
            except Misconfigured:  # a synchronous product has none; who misses one says so when something is accepted
                await asyncio.sleep(ABSENT_S)
            except ApxError as error:
                await self._failed(error)
            while len(self._held) >= MOST_HELD:  # noqa: ASYNC110 -- what ends it is a look, once a second
                await asyncio.sleep(PAUSE_S)

    async def _look(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except ApxError as error:
                await self._failed(error)

    async def _failed(self, error: ApxError) -> None:
        metrics.JOURNAL_FAILURES.inc(self._product)
        _log.warning("journal.failed", product=self._product, error=error.code, detail=str(error))
        await asyncio.sleep(PAUSE_S)

    @property
    def holding(self) -> int:
        """Count the entries that are held."""
        return len(self._held)

    def hold(self, entries: Sequence[Entry]) -> None:
        """Take entries; one that comes again replaces the one before, which Pub/Sub has given up."""
        for entry in entries:
            self._held[entry.message_id] = entry

    async def look(self) -> None:
        """Close what has ended, deal out again what the lanes do not know, go on holding the rest.

        Raises `Unavailable`; what was not done is done the next time.
        """
        async with self._looking:
            held = sorted(self._held.values(), key=lambda entry: entry.published)
            for at in range(0, len(held), MOST_ENTRIES):
                await self._look_at(held[at : at + MOST_ENTRIES])
        now = asyncio.get_running_loop().time()
        if now - self._extended >= ACK_DEADLINE_S / 2:
            self._extended = now
            await self._postpone(list(self._held.values()), ACK_DEADLINE_S)

    async def _look_at(self, entries: Sequence[Entry]) -> None:
        known = await self._lanes.known([entry.envelope for entry in entries])
        by_state: dict[Known, list[Entry]] = {"no": [], "queued": [], "concluded": [], "settled": []}
        for entry, state in zip(entries, known, strict=True):
            by_state[state].append(entry)
        lost, concluded = by_state["no"], by_state["concluded"]
        found = await self._events_of([*lost, *concluded])
        await self._deal([entry for entry in lost if entry.message_id not in found])
        await self._usage.tell(list(found.values()))
        ended = [*by_state["settled"], *concluded, *(entry for entry in lost if entry.message_id in found)]
        await self._journal.close(self._product, ended)
        for entry in ended:
            del self._held[entry.message_id]

    async def _events_of(self, entries: Sequence[Entry]) -> dict[str, UsageEvent]:
        """Return the usage events of those that have a result, by the entry's id."""
        if not entries:
            return {}
        results = await self._documents.results([entry.envelope.id for entry in entries])
        return {
            entry.message_id: event_of(accepted(entry.envelope), result)
            for entry, result in zip(entries, results, strict=True)
            if result is not None
        }

    async def _deal(self, entries: Sequence[Entry]) -> None:
        # All at once: they are queued in the order in which they are given, as few calls.
        await asyncio.gather(*(self._lanes.publish(entry.envelope, origin="journal") for entry in entries))
        if entries:
            metrics.JOURNAL_RECOVERED.add(len(entries), self._product)
            _log.warning("journal.dealt", product=self._product, requests=len(entries))

    async def _postpone(self, entries: Sequence[Entry], after_s: int) -> None:
        for at in range(0, len(entries), MOST_ENTRIES):
            await self._journal.postpone(self._product, entries[at : at + MOST_ENTRIES], after_s)
