"""Reading the journal: what has a result is closed, what the lanes have lost is dealt out again.

Each process that takes deliveries reads along; Pub/Sub shares the entries out among them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from apx.backends.gcp.documents import Documents
from apx.backends.gcp.journal import ACK_DEADLINE_S, Entry, Journal
from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.notices import end
from apx.errors import ApxError
from apx.telemetry import metrics

LOOK_AGAIN_S = ACK_DEADLINE_S
PAUSE_S = 1.0

_log = structlog.get_logger(__name__)


class Recovery:
    """Reads the journals of the products that it was shown, in the background."""

    def __init__(
        self, lanes: ValkeyBus, journal: Journal, documents: Documents, *, look_again_s: int = LOOK_AGAIN_S
    ) -> None:
        """Let an entry whose request is not finished come again after `look_again_s`, 0 to 600."""
        self._look_again_s = look_again_s
        self._lanes = lanes
        self._journal = journal
        self._documents = documents
        self._reading: dict[str, asyncio.Task[None]] = {}

    def watch(self, products: Sequence[str]) -> None:
        """Read the journals of these products too from now on."""
        for product in set(products) - self._reading.keys():
            self._reading[product] = asyncio.create_task(self._read(product))

    async def aclose(self) -> None:
        """Stop reading."""
        reading = list(self._reading.values())
        self._reading.clear()
        await asyncio.gather(*(end(task) for task in reading))

    async def _read(self, product: str) -> None:
        while True:
            try:
                await self.look(product, await self._journal.read(product))
            except ApxError as error:
                metrics.JOURNAL_FAILURES.inc(product)
                _log.warning("journal.unreadable", product=product, error=error.code, detail=str(error))
                await asyncio.sleep(PAUSE_S)

    async def look(self, product: str, entries: Sequence[Entry]) -> None:
        """Close, postpone or deal out again what the journal offers. Raises `Unavailable`."""
        known = await self._lanes.known([entry.envelope.id for entry in entries])
        said = list(zip(entries, known, strict=True))
        lost = [entry for entry, state in said if state == "no"]
        results = await self._documents.results([entry.envelope.id for entry in lost]) if lost else []
        unfinished = [entry for entry, result in zip(lost, results, strict=True) if result is None]
        for entry in unfinished:  # one after the other: those of a lane come in its order
            await self._lanes.publish(entry.envelope, again=True)
        if unfinished:
            metrics.JOURNAL_RECOVERED.add(len(unfinished), product)
            _log.warning("journal.recovered", product=product, requests=len(unfinished))
        finished = {entry.ack_id for entry, state in said if state == "concluded"}
        finished |= {entry.ack_id for entry, result in zip(lost, results, strict=True) if result is not None}
        await self._journal.close(product, [entry for entry in entries if entry.ack_id in finished])
        await self._journal.postpone(product, [e for e in entries if e.ack_id not in finished], self._look_again_s)
