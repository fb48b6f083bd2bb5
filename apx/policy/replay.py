"""Replay: recorded inputs through what decided and through what would decide, and where the two differ.

How an outcome comes about is the caller's: `apx.admission.impact` makes one of a product's routes, limits and policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from apx.policy.decision import Decision
from apx.policy.sample import Sample

Stage = Literal["route", "caller", "limits", "policy"]
Kind = Literal["newly-denied", "route-lost", "newly-refused", "newly-allowed", "reason", "obligations"]

KINDS: tuple[Kind, ...] = ("newly-denied", "route-lost", "newly-refused", "newly-allowed", "reason", "obligations")
"""The most dangerous first."""
FLIPS: frozenset[Kind] = frozenset({"newly-denied", "route-lost", "newly-refused", "newly-allowed"})
"""Kinds after which a request is answered otherwise: let through or not."""
MOST_EXAMPLES = 5
_MOST_TIMEOUTS = 50
_STOPPED = "policy-timeout"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a request."""

    allow: bool
    reason: str
    """The decision's reason, or the code of the refusal."""
    stage: Stage = "policy"
    """Where it was decided."""
    decision: Decision | None = None
    """What the policy said, when it was asked."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One input that is decided otherwise."""

    kind: Kind
    sample: Sample
    before: Outcome
    after: Outcome


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What replaying the inputs of one product has shown."""

    inputs: int
    compared: int
    unchanged: int
    changes: dict[Kind, int]
    by_org: dict[str, dict[Kind, int]]
    by_route: dict[str, dict[Kind, int]]
    """By method and template of the route that was recorded: `GET /{id}`."""
    policy_failures: int
    """Inputs for which the policy works before the change and fails after it; each is a denial, too."""
    not_reproduced: int
    """Not counted: what decided then decides otherwise now. The input is masked, or the policy had failed."""
    not_reproduced_but_differ: int
    """Those of them that the two sides decide differently."""
    not_tried: int
    """Not counted: the policy after the change had run out of time so often that the rest was left."""
    other_releases: int
    """Compared, but recorded under another release than the one before the change."""
    examples: tuple[Example, ...]

    @property
    def flips(self) -> int:
        """Return how many requests are let through or refused otherwise."""
        return sum(count for kind, count in self.changes.items() if kind in FLIPS)


Side = Callable[[Sample], Outcome]


def as_recorded(sample: Sample) -> Outcome:
    """Return what was decided then: the side to replay against where what decided is not at hand."""
    return Outcome(allow=sample.allow, reason=sample.reason)


def replay(
    samples: Iterable[Sample],
    before: Side,
    after: Side,
    *,
    before_release: str | None,
    most_examples: int = MOST_EXAMPLES,
    progress: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Put each input to both sides and count where they differ.

    Up to `most_examples` are kept of each kind, no two of the same route and reasons.

    An input recorded under `before_release` that this side now decides otherwise is not counted: it is masked where it
    mattered. `progress` is told after each input how many have been read.
    """
    count = _Count(before_release, most_examples)
    for number, sample in enumerate(samples, 1):
        count.add(sample, before, after)
        progress(number)
    return count.result()


def kind_of(before: Outcome, after: Outcome) -> Kind | None:
    """Name how two outcomes differ; None when they do not."""
    if after.stage == "route" and before.stage != "route":
        return "route-lost"
    if before.allow and not after.allow:
        return "newly-denied" if after.stage == "policy" else "newly-refused"
    if after.allow and not before.allow:
        return "newly-allowed"
    if (before.reason, before.stage) != (after.reason, after.stage):
        return "reason"
    return "obligations" if before.allow and _obliges_otherwise(before.decision, after.decision) else None


def _obliges_otherwise(before: Decision | None, after: Decision | None) -> bool:
    if before is None or after is None:  # not recorded
        return False
    return (before.headers, before.cost) != (after.headers, after.cost)


class _Count:
    def __init__(self, before_release: str | None, most_examples: int) -> None:
        self._release = before_release
        self._most_examples = most_examples
        self._inputs = self._compared = self._failures = self._others = self._timeouts = 0
        self._lost = self._lost_but_differ = self._not_tried = 0
        self._changes: Counter[Kind] = Counter()
        self._by_org: dict[str, Counter[Kind]] = {}
        self._by_route: dict[str, Counter[Kind]] = {}
        self._examples: dict[Kind, dict[tuple[str, ...], Example]] = {}

    def add(self, sample: Sample, before: Side, after: Side) -> None:
        self._inputs += 1
        if self._timeouts >= _MOST_TIMEOUTS:
            self._not_tried += 1
            return
        old, new = before(sample), after(sample)
        self._timeouts += new.reason == _STOPPED
        kind = kind_of(old, new)
        if self._is_lost(sample, old):
            self._lost += 1
            self._lost_but_differ += kind is not None
            return
        self._compared += 1
        self._others += self._release is not None and sample.release != self._release
        self._failures += _failed(new) and not _failed(old)
        if kind is not None:
            self._note(kind, sample, old, new)

    def _is_lost(self, sample: Sample, now: Outcome) -> bool:
        said = now.decision
        then = (sample.allow, sample.reason)
        return sample.release == self._release and (said is None or (said.allow, said.reason) != then)

    def _note(self, kind: Kind, sample: Sample, before: Outcome, after: Outcome) -> None:
        self._changes[kind] += 1
        self._by_org.setdefault(sample.org, Counter())[kind] += 1
        self._by_route.setdefault(f"{sample.method} {sample.route}", Counter())[kind] += 1
        examples = self._examples.setdefault(kind, {})
        shows = (sample.method, sample.route, before.reason, after.reason)
        if len(examples) < self._most_examples and shows not in examples:
            examples[shows] = Example(kind=kind, sample=sample, before=before, after=after)

    def result(self) -> Replayed:
        return Replayed(
            inputs=self._inputs,
            compared=self._compared,
            unchanged=self._compared - self._changes.total(),
            changes=_ordered(self._changes),
            by_org=_sorted(self._by_org),
            by_route=_sorted(self._by_route),
            policy_failures=self._failures,
            not_reproduced=self._lost,
            not_reproduced_but_differ=self._lost_but_differ,
            not_tried=self._not_tried,
            other_releases=self._others,
            examples=tuple(example for kind in KINDS for example in self._examples.get(kind, {}).values()),
        )


def _failed(outcome: Outcome) -> bool:
    return outcome.decision is not None and outcome.decision.failed


def _ordered(changes: Mapping[Kind, int]) -> dict[Kind, int]:
    return {kind: changes[kind] for kind in KINDS if changes.get(kind)}


def _sorted(groups: Mapping[str, Counter[Kind]]) -> dict[str, dict[Kind, int]]:
    """Order groups by how much changes in them, the most first."""
    return {name: _ordered(groups[name]) for name in sorted(groups, key=lambda name: (-groups[name].total(), name))}
