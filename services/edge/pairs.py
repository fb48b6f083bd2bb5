"""What the edge serves of one product: the stable release and, during a rollout, the candidate beside it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from apx.release.digest import short
from apx.release.model import Manifest
from apx.rollout.arms import Arms


class Pair(msgspec.Struct, frozen=True):
    """The releases of one product."""

    stable: Manifest
    candidate: Manifest | None = None
    release: str = ""
    """The candidate's short digest: how the router names it in its answer."""
    candidate_closed: str = ""
    """Why the candidate cannot be served; the orgs that it is for then get a 503, and no others."""

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """Return what is served."""
        if self.candidate is None or self.candidate_closed:
            return (self.stable,)
        return (self.stable, self.candidate)


def pair_of(arms: Arms[Manifest]) -> Pair:
    """Return what the edge serves of a product."""
    rollout = arms.rollout
    if rollout is None or arms.candidate is None:
        return Pair(arms.stable)
    differs = _not_side_by_side(arms.stable, arms.candidate)
    return Pair(arms.stable, arms.candidate, short(rollout.candidate), differs)


def manifests_of(serving: Sequence[Arms[Manifest]]) -> list[Manifest]:
    """Return all releases that are served."""
    return [manifest for arms in serving for manifest in pair_of(arms).manifests]


def _not_side_by_side(stable: Manifest, candidate: Manifest) -> str:
    """Return what the edge has to know before it knows the org, and is not the same; such a rollout is not begun."""
    for field in ("base_path", "mode", "auth"):
        if getattr(stable.spec, field) != getattr(candidate.spec, field):
            return f"{field} is not the stable release's"
    return ""
