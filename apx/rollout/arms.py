"""What a process serves of one product: the stable release and, during a rollout, the candidate beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from apx.rollout.active import Active
from apx.rollout.model import Arm, Rollout
from apx.rollout.split import Split

T = TypeVar("T")


@dataclass(frozen=True)
class Arms(Generic[T]):
    """The releases of one product, each as this process has prepared it.

    `active` is the record that they were prepared for. A process that could not prepare what it says goes on with what
    it has: then `stable_digest` is another one, or `candidate` is None and the stable release serves every org.
    """

    active: Active
    stable: T
    stable_digest: str
    candidate: T | None = None

    @property
    def rollout(self) -> Rollout | None:
        """Return the rollout that both arms are there for; None while one release serves all."""
        return self.active.rollout if self.candidate is not None else None

    @cached_property
    def split(self) -> Split | None:
        """Return who serves which org; None while one release serves all."""
        rollout = self.rollout
        return None if rollout is None else Split(rollout.id, rollout.weight_percent)

    def arm(self, org: str) -> Arm:
        """Return who serves an org."""
        split = self.split
        return "stable" if split is None else split.arm(org)

    def serving(self, arm: Arm) -> T:
        """Return what an arm serves with."""
        return self.candidate if arm == "candidate" and self.candidate is not None else self.stable

    def prepared(self) -> dict[str, T]:
        """Return what is prepared, by digest."""
        found = {self.stable_digest: self.stable}
        if self.candidate is not None and self.active.candidate is not None:
            found[self.active.candidate] = self.candidate
        return found
