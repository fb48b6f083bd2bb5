"""Which orgs a candidate serves: sticky by org, uniform, and growing with the weight.

Each org has a point in [0, 1) for each rollout: XXH3-64 of its name, seeded by the rollout's id. The candidate serves
the orgs below the weight. A growing weight only adds orgs, and another rollout begins with other ones.
"""

from __future__ import annotations

import xxhash

from apx.rollout.model import Arm

_ALL = 1 << 64


class Split:
    """The split of one rollout at one weight."""

    __slots__ = ("_below", "_seed")

    def __init__(self, rollout_id: str, weight_percent: float) -> None:
        """Let the candidate serve `weight_percent` of the orgs, 0 to 100."""
        self._seed = xxhash.xxh3_64_intdigest(rollout_id.encode())
        self._below = min(_ALL, max(0, int(weight_percent / 100 * _ALL)))

    def arm(self, org: str) -> Arm:
        """Return who serves an org."""
        return "candidate" if xxhash.xxh3_64_intdigest(org.encode(), self._seed) < self._below else "stable"
