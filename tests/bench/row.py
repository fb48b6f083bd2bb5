"""What a benchmark says: one row for each figure, with its peer's figure, their ratio and the goal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec


class Samples(msgspec.Struct, frozen=True):
    """The figures of several rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def range(self) -> tuple[float, float]:
        return min(self.values), max(self.values)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table; `met` is None where there is no goal. The fields' names are public (`--json`)."""

    name: str
    value: float | None = None
    unit: str = ""
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    """How many times as good as the peer: above 1 is better, whatever the unit."""
    goal: str = ""
    met: bool | None = None
    range: tuple[float, float] | None = None
    """Lowest and highest of the rounds; `value` is their median."""
    peer_range: tuple[float, float] | None = None
    note: str = ""
    """What the peer does more or less, and what was measured how."""
    error: str = ""
    """Why the row could not be measured."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds, of which None asks for nothing."""

    ratio_from: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    def text(self, unit: str) -> str:
        ratio = "" if self.ratio_from is None else f"≥ {self.ratio_from:g}×"
        value = "" if self.at_most is None else f"≤ {self.at_most:g} {unit}"
        least = "" if self.at_least is None else f"≥ {self.at_least:g} {unit}"
        return ", ".join(filter(None, (ratio, value, least)))

    def met(self, value: float, ratio: float | None) -> bool | None:
        if (self.ratio_from, self.at_most, self.at_least) == (None, None, None):
            return None
        enough = self.ratio_from is None or (ratio is not None and ratio >= self.ratio_from)
        within = self.at_most is None or value <= self.at_most
        return enough and within and (self.at_least is None or value >= self.at_least)


NO_GOAL = Goal()


def row(
    name: str,
    ours: Samples,
    theirs: Samples | None = None,
    *,
    unit: str,
    peer: str = "",
    goal: Goal = NO_GOAL,
    less_is_better: bool = False,
    note: str = "",
) -> Row:
    """Return the row of some rounds, beside those of a peer."""
    ratio = None
    if theirs is not None and ours.median and theirs.median:
        ratio = theirs.median / ours.median if less_is_better else ours.median / theirs.median
    return Row(
        name=name,
        value=ours.median,
        unit=unit,
        peer=peer,
        peer_value=None if theirs is None else theirs.median,
        ratio=ratio,
        goal=goal.text(unit),
        met=goal.met(ours.median, ratio),
        range=ours.range,
        peer_range=None if theirs is None else theirs.range,
        note=note,
    )


def interleaved(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Samples]:
    """Measure each side in turn, A B A B …, so that what the machine does besides hits all alike."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            found[name].append(measure())
    return {name: Samples(tuple(values)) for name, values in found.items()}


def once(value: float) -> Samples:
    """Return what was measured once."""
    return Samples((value,))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of values in their order (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
