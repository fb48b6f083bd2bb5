"""How rules say what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stacks.changes.model import Danger, Delta, Severity

Rule = Callable[[Delta], Iterator[Danger]]


def high(rule: str, says: str) -> Danger:
    """Return a danger that somebody has to answer before the change is merged."""
    return Danger(rule, Severity.HIGH, says)


def medium(rule: str, says: str) -> Danger:
    """Return a danger that may well be meant."""
    return Danger(rule, Severity.MEDIUM, says)
