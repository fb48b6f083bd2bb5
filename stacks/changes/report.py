"""The whole comparison: two names in, a report out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from apx.errors import NotFound
from stacks.changes.cascade import cascade
from stacks.changes.compare import compare
from stacks.changes.dangers import judge
from stacks.changes.model import Change, EnvironmentChanges, Presence, Report, told
from stacks.changes.sides import Side, side, synthesise
from stacks.changes.synthesised import Tree


def report(base: str, head: str | None, environments: Sequence[str] = ()) -> Report:
    """Compare a commit with another, or with the working tree, in the environments named or in all of both sides.

    Raises `NotFound` for an unknown commit or environment, `Misconfigured` for a side that does not synthesise.
    """
    with side(base) as before, side(head) as after:
        names = _names(before, after, environments)
        both = [name for name in names if name in before.environments & after.environments]
        trees = synthesise((before, after), both)
        found = [
            EnvironmentChanges(name, Presence.BOTH, changes(trees[before.name, name], trees[after.name, name], name))
            if name in both
            else EnvironmentChanges(name, _presence(name, after.environments))
            for name in names
        ]
        return Report(before.name, after.name, tuple(found))


def changes(before: Tree, after: Tree, environment: str) -> tuple[Change, ...]:
    """Return what differs in one environment, with what follows from it and why it may be dangerous."""
    return tuple(told(delta, found) for delta, found in judge(cascade(compare(before, after), after, environment)))


def _names(before: Side, after: Side, wanted: Sequence[str]) -> list[str]:
    known = before.environments | after.environments
    if unknown := sorted(set(wanted) - known):
        raise NotFound(f"No environment {unknown[0]!r} in {before.name} or {after.name}: there is {sorted(known)}.")
    return sorted(wanted or known)


def _presence(name: str, after: Collection[str]) -> Presence:
    return Presence.ADDED if name in after else Presence.REMOVED
