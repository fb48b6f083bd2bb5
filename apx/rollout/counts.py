"""What the judge counts: by product, release and org, second by second, in a store that all processes write to.

Routers count requests, denials and policy failures; workers (and, for synchronous products, the edge) count what
backends answered and how long it took. A process adds up what it sees and writes it about once a second, stamped by the
store's clock, so that no process's clock matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import msgspec

BUCKETS_PER_DOUBLING = 4
"""Bounds of the latency histogram grow by 2^(1/4), 19 %."""
LEAST_LATENCY_S = 0.001
MOST_BUCKET = 100
"""2^25 ms: about nine hours."""


class Counts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was seen of one org under one release. Every field only grows."""

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
        for name in _PLAIN:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for at, count in other.latency.items():
            self.latency[at] = self.latency.get(at, 0) + count


_PLAIN = tuple(name for name in Counts.__struct_fields__ if name != "latency")

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

    - `write` adds; it is atomic, and what it wrote is seen by the next `read`. It is not repeated after a fault: a
      second of counts may be lost with the store, but none is counted twice. Raises `Unavailable`.
    - `read` sums the whole seconds in [since_ms, until_ms) by the store's clock. Seconds are kept for an hour, whole
      minutes for two days: older parts of a minute are not in it.
    """

    async def write(self, process: str, counts: Mapping[str, Mapping[By, Counts]]) -> None:
        """Add what a process has seen since its last write: product → (release, org) → counts. May be empty."""
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
        """Return the counts to add to."""
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
