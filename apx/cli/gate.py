"""A gate for workflows: which rollouts are followed, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from apx.errors import NotFound
from apx.rollout.active import Active, RolloutStore, Snapshot

End = Literal["promoted", "aborted", "superseded", "paused"]
_OVER: tuple[End, ...] = ("promoted", "aborted", "superseded")
_ENDS: tuple[End, ...] = (*_OVER, "paused")
"""A paused rollout waits for a person, who may be long in coming: a gate does not."""


class Followed(msgspec.Struct, frozen=True):
    """A rollout whose end is waited for."""

    product: str
    rollout: str
    candidate: str


def followed(snapshot: Snapshot, products: Sequence[str], commit: str | None = None) -> list[Followed]:
    """Return the rollouts under way and those that wait behind them; of products that are named, the last ones too.

    With a commit those that it began too, when they have ended: that may be before anybody looks.

    Raises `NotFound` for a name that no live product has.
    """
    found = []
    for active in chosen(snapshot, products):
        rollouts = [one for one in (active.rollout, active.waiting) if one is not None]
        if not products or any(one.under_way for one in rollouts):
            rollouts = [one for one in rollouts if one.under_way or (commit and one.commit == commit)]
        found += [Followed(active.product, one.id, one.candidate) for one in rollouts]
    return found


def chosen(snapshot: Snapshot, products: Sequence[str]) -> list[Active]:
    """Return the products that are named, all without names. Raises `NotFound`."""
    for name in products:
        if name not in snapshot.products:
            raise NotFound(f"there is no live product {name!r}; `apx status` lists them")
    return [snapshot.products[name] for name in sorted(set(products) or snapshot.products)]


async def ended(store: RolloutStore, one: Followed, active: Active | None) -> End | None:
    """Return how a rollout ended, None while it goes on. Raises `Unavailable`.

    One whose place another has taken is looked up in the history: it may have ended between two looks.
    """
    if active is None:
        return "superseded"
    if active.rollout is not None and active.rollout.id == one.rollout:
        return next((end for end in _ENDS if end == active.rollout.state), None)
    if active.waiting is not None and active.waiting.id == one.rollout:
        return None
    states = [entry.state for entry in await store.history(one.product) if entry.rollout == one.rollout]
    if over := next((end for state in states for end in _OVER if end == state), None):
        return over
    return "promoted" if active.stable == one.candidate else "superseded"


def summary(ends: Mapping[Followed, End | None]) -> str:
    """Say in one line how the rollouts ended, or which have not."""
    if not ends:
        return "no rollout is under way"
    return "; ".join(f"{one.product} {end or 'has not ended'} ({one.rollout})" for one, end in ends.items())


def exit_code(ends: Mapping[Followed, End | None]) -> int | None:
    """Return 0 when all were promoted, 2 as soon as one ended otherwise, None while it is open."""
    if any(end is not None and end != "promoted" for end in ends.values()):
        return 2
    return 0 if all(ends.values()) else None
