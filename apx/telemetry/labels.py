"""What may become the value of a metric's label: a closed set, or a bounded number of values. The rest is `other`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

OTHER = "other"


class Family(Protocol):
    """A metric that has series by label."""

    def forget(self, label: str, values: set[str]) -> None:
        """Drop the series whose `label` has one of these values."""
        ...


class Label:
    """A label's name and the values it may take.

    With `values`: just these. Without: the first `limit` distinct ones that come, of the known ones where `know` told;
    the empty value, for "none", is among them.
    """

    def __init__(self, name: str, values: Iterable[str] = (), *, limit: int = 64) -> None:
        self.name = name
        self.values = tuple(values)
        self.limit = limit
        self._known: frozenset[str] | None = None
        self._seen: set[str] = set(self.values) or {""}
        self._families: list[Family] = []

    def know(self, names: Iterable[str]) -> None:
        """Say which values exist now: others collapse, and the series of those that are gone are dropped."""
        self._known = frozenset(names)
        gone = self._seen - self._known - {""}
        self._seen -= gone
        if gone:
            for family in self._families:
                family.forget(self.name, gone)

    def admit(self, value: str) -> str:
        """Return the value, or `other` when it is outside the bound."""
        if value in self._seen:
            return value
        closed = bool(self.values) or (self._known is not None and value not in self._known)
        if closed or len(self._seen) >= self.limit:
            return OTHER
        self._seen.add(value)
        return value

    def join(self, family: Family) -> None:
        """Let `family` hear of values that are gone."""
        self._families.append(family)
