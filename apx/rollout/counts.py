"""What the judge counts: by product, release and org, second by second, in a store that all processes write to.

Routers count requests, denials and policy failures; workers (and, for synchronous products, the edge) count what
backends answered and how long it took. A process adds up what it sees and writes it about once a second, stamped by the
store's clock, so that no process's clock matters.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog

from apx.clock import Clock
from apx.errors import ApxError
from apx.telemetry import metrics

MOST_PAIRS = 2000
"""(release, org) pairs that are told apart in one second, or one minute, of a product."""
MOST_WAITING_S = 30.0
"""How long counts wait for a store that is away. Later they would be taken for what happens then."""
MOST_WAITING_PAIRS = 20_000
"""(release, org) pairs that wait; some 20 MB."""
BUCKETS_PER_DOUBLING = 4
"""Bounds of the latency histogram grow by 2^(1/4), 19 %."""
LEAST_LATENCY_S = 0.001
MOST_BUCKET = 100
"""2^25 ms: about nine hours."""

_log = structlog.get_logger(__name__)


class Counts(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """What was seen of one org under one release. Every field only grows.

    Holds numbers alone, so no cycle: without `gc=False`, ten thousand of them each second call for full collections.
    """

    requests: int = 0
    """Requests of known callers that the release was asked about."""
    denied: int = 0
    """Those that it refused: no such route or plan, a body it does not take, its policy (one that failed included);
    limits are no refusal of the release."""
    compared: int = 0
    """Denials of a candidate that were put to the stable release too."""
    newly_denied: int = 0
    """Those among them that it would have admitted."""
    policy_failures: int = 0
    """Decisions in which the policy did not work."""
    answers: int = 0
    """Calls to the backend that have ended; each attempt is one, so that failures show before the last retry."""
    errors: int = 0
    """Those among them that failed by the backend's fault: no answer, a timeout, a status of 500 or more."""
    shadowed: int = 0
    """Requests to the stable release that were put to the candidate, without effect; counted under the candidate."""
    shadow_newly_denied: int = 0
    """Those among them that the stable release admitted and the candidate would not."""
    shadow_newly_admitted: int = 0
    """Those that the stable release refused and the candidate would not."""
    shadow_other: int = 0
    """Those that both admit or both refuse, with another reason, cost or headers."""
    shadow_failed: int = 0
    """Those in which the candidate's policy did not work."""
    shadow_skipped: int = 0
    """Requests that would have been put to the candidate, had that not been over its budget of processor time."""
    latency: dict[int, int] = {}
    """Bucket (see `bucket`) → answers that took so long."""

    def add(self, other: Counts) -> None:
        """Add what `other` has seen."""
        for name in PLAIN:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for at, count in other.latency.items():
            self.latency[at] = self.latency.get(at, 0) + count


PLAIN = tuple(name for name in Counts.__struct_fields__ if name != "latency")
"""The fields that are numbers. Stores keep them by their place: a new one goes to the end."""

By = tuple[str, str]
"""(release digest, org)."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What a source knows of one product in a span of time."""

    by: Mapping[By, Counts]
    now_ms: int
    """The store's clock at the reading."""
    writers: Mapping[str, int] = {}
    """Process → the store's time of its last write, for those that wrote within the last minute: a process writes each
    second, also when it has seen nothing, so that silence is told from absence."""


class CountStore(Protocol):
    """Counters of all processes, added up.

    - `write` adds; the counts of one (release, org) are all added or none, and what was added is seen by the next
      `read`. It is not repeated after a fault: a second of counts may be lost with the store, but none is counted
      twice. It does not wait for the store's disk, either: no count is worth that.
    - `read` sums the whole seconds in [since_ms, until_ms) by the store's clock. Seconds are kept for an hour, whole
      minutes for two days: older parts of a minute are not in it (see `spans`).
    - What is kept is bounded: once `MOST_PAIRS` pairs were seen in a second (or minute) of a product, further orgs are
      added up, by release, under the org "". Whoever judges takes "" for one org.
    """

    async def write(self, process: str, counts: Mapping[str, Mapping[By, Counts]]) -> None:
        """Add what a process has seen since its last write: product → (release, org) → counts. May be empty.

        Raises `Unavailable`; then all, a part or nothing of it was added.
        """
        ...

    async def leave(self, process: str) -> None:
        """Forget a writer that has written for the last time: its silence means nothing. Raises `Unavailable`."""
        ...

    async def read(self, product: str, since_ms: int, until_ms: int | None = None) -> Counted:
        """Return what was counted of a product; until now without `until_ms`. Raises `Unavailable`."""
        ...


def bucket(latency_s: float) -> int:
    """Return the histogram's bucket of a latency: 0 up to 1 ms, then four for each doubling."""
    if latency_s <= LEAST_LATENCY_S:
        return 0
    return min(MOST_BUCKET, math.ceil(math.log2(latency_s / LEAST_LATENCY_S) * BUCKETS_PER_DOUBLING))


def upper_bound_s(at: int) -> float:
    """Return the longest latency of a bucket."""
    return float(LEAST_LATENCY_S * 2 ** (at / BUCKETS_PER_DOUBLING))


class Tally:
    """What this process has seen since it was last asked. For one thread."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[By, Counts]] = {}

    def of(self, product: str, release: str, org: str) -> Counts:
        """Return the counts to add to, at once: after the next `take` nobody looks at them."""
        by = self._counts.get(product)
        if by is None:
            by = self._counts[product] = {}
        counts = by.get((release, org))
        if counts is None:
            counts = by[release, org] = Counts(latency={})
        return counts

    def answered(self, product: str, release: str, org: str, *, latency_s: float, failed: bool) -> None:
        """Count the end of a call to a backend."""
        counts = self.of(product, release, org)
        counts.answers += 1
        counts.errors += failed
        at = bucket(latency_s)
        counts.latency[at] = counts.latency.get(at, 0) + 1

    def take(self) -> dict[str, dict[By, Counts]]:
        """Return what was seen, and begin anew."""
        taken, self._counts = self._counts, {}
        return taken


class Writer:
    """Writes a tally to the store each second.

    A write whose answer does not come is not repeated, for it may have been done. Then the store is asked with empty
    writes until it answers; what is counted meanwhile waits, up to `MOST_WAITING_S` and `MOST_WAITING_PAIRS`, the
    oldest dropped first. What is lost is counted in `apx_counts_dropped_total`.
    """

    def __init__(self, store: CountStore, process: str, tally: Tally, *, clock: Clock, every_s: float = 1.0) -> None:
        """Write as `process`, a name that no other process has."""
        self._store = store
        self._process = process
        self._tally = tally
        self._clock = clock
        self._every_s = every_s
        self._waiting: deque[_Second] = deque()
        self._away = False

    async def run(self) -> None:
        """Write until cancelled, then once more, and say that nothing will follow. Raises nothing else."""
        stopped = asyncio.Event()
        writing = asyncio.create_task(self._write_until(stopped))
        try:
            await asyncio.shield(writing)
        finally:
            stopped.set()
            await writing
            with suppress(ApxError):  # then its silence is waited out
                await self._store.leave(self._process)

    async def write(self) -> None:
        """Write what was counted since the last time, and what waits."""
        self._take()
        if (self._away or not self._waiting) and not await self._send({}):
            return
        while self._waiting:
            second = self._waiting.popleft()
            if not await self._send(second.counts):
                _drop(second, "write")
                return

    async def _write_until(self, stopped: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every_s):
                    await stopped.wait()
            last = stopped.is_set()
            await self.write()
            if last:
                return

    async def _send(self, counts: Mapping[str, Mapping[By, Counts]]) -> bool:
        try:
            await self._store.write(self._process, counts)
        except Exception as error:  # noqa: BLE001 -- whatever it is, requests go on, and so does counting
            if not self._away:
                trace = None if isinstance(error, ApxError) else error
                _log.warning("counts.not-written", detail=str(error), exc_info=trace)
            self._away = True
            return False
        self._away = False
        return True

    def _take(self) -> None:
        now = self._clock.monotonic()
        if counts := self._tally.take():
            self._waiting.append(_Second(counts, now))
        pairs = sum(second.pairs for second in self._waiting)
        while self._waiting and (self._waiting[0].at_s < now - MOST_WAITING_S or pairs > MOST_WAITING_PAIRS):
            oldest = self._waiting.popleft()
            pairs -= oldest.pairs
            _drop(oldest, "full")


class _Second:
    """What was counted between two writes."""

    def __init__(self, counts: dict[str, dict[By, Counts]], at_s: float) -> None:
        self.counts = counts
        self.at_s = at_s
        self.pairs = sum(map(len, counts.values()))


def _drop(second: _Second, cause: str) -> None:
    seen = sum(counts.requests + counts.answers for by in second.counts.values() for counts in by.values())
    metrics.COUNTS_DROPPED.add(seen, cause)
