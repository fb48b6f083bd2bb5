"""Record a bounded, masked sample of decisions, out of the request's way: what `apx policy diff` replays.

`record` does nothing but draw a number and put a tuple into a list. Every few seconds the list is masked and written
in a thread. The share of a product's decisions that is taken follows its traffic, so that what is written is bounded:
`WRITTEN_A_FLUSH` decisions in each `FLUSH_S`, shared by the products that had any.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from apx.clock import Clock
from apx.policy.decision import Decision
from apx.policy.sample import Sample, sample_of

FLUSH_S = 5.0
WRITTEN_A_FLUSH = 200
"""Decisions that a process aims to write in each `FLUSH_S`; masking one takes 0.1 to 0.2 ms, all half a percent of a
core."""
MOST_WAITING = 2_000
MOST_WAITING_BYTES = 8 * 1024 * 1024
MOST_INPUT_BYTES = 65_536
"""A longer input is not looked at: what is left of it when it is masked would be too long as well."""
_MOST_SHARES = 20_000
_log = structlog.get_logger(__name__)

_Taken = tuple[float, str, str, bytes, Decision]


class SampleStore(Protocol):
    """Keeps recorded decisions: bounded, by product, the newest favoured.

    - `append` may lose the samples of a process that dies, never those written before, and no reader fails over it.
    - Several processes append at the same time. Raises `Unavailable` when nothing can be written.
    """

    async def append(self, samples: Sequence[Sample]) -> None:
        """Add samples, of any products."""
        ...


class Recorder:
    """Records decisions of one process. For one thread.

    `random` returns numbers in [0, 1).
    """

    def __init__(self, store: SampleStore, clock: Clock, random: Callable[[], float]) -> None:
        self._store = store
        self._time = clock.time
        self._random = random
        self._shares: dict[str, float] = {}
        self._taken: list[_Taken] = []
        self._bytes = 0
        self._failing = False

    def record(self, product: str, release: str, input_json: bytes, decision: Decision) -> None:
        """Record a decision, or leave it out: 0.1 µs when it is left out, 0.2 when it is taken. Never raises."""
        share = self._shares.get(product, 1.0)
        if share < 1.0 and self._random() >= share:
            return
        size = len(input_json)
        if size > MOST_INPUT_BYTES or len(self._taken) >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES:
            return
        self._bytes += size
        self._taken.append((self._time(), product, release, input_json, decision))

    def share(self, product: str) -> float:
        """Return the share of a product's decisions that is taken now, in (0, 1]."""
        return self._shares.get(product, 1.0)

    async def run(self) -> None:
        """Write what was taken every few seconds until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write what was taken, and choose the shares of the time to come. A store that fails loses it."""
        taken, self._taken, self._bytes = self._taken, [], 0
        self._adapt(Counter(one[1] for one in taken))
        if not taken:
            return
        try:
            await self._store.append(await asyncio.to_thread(_masked, taken))
            self._failing = False
        except Exception as error:  # noqa: BLE001 -- a sample is worth no request, and no process
            if not self._failing:
                _log.warning("samples.not-written", detail=str(error), lost=len(taken))
            self._failing = True

    def _adapt(self, counts: Counter[str]) -> None:
        """Take so much of each product that all together fill a flush; one that was quiet begins whole again."""
        fair = WRITTEN_A_FLUSH / max(1, len(counts))
        shares = {name: self._shares.get(name, 1.0) * fair / count for name, count in counts.items()}
        kept = {name: share * 2 for name, share in self._shares.items() if name not in counts}
        self._shares = {name: share for name, share in (kept | shares).items() if share < 1.0}
        if len(self._shares) > _MOST_SHARES:
            self._shares.clear()


def _masked(taken: Sequence[_Taken]) -> list[Sample]:
    made = (
        sample_of(int(at * 1000), product, release, document, decision)
        for at, product, release, document, decision in taken
    )
    return [sample for sample in made if sample is not None]
