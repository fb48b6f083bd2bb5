"""What a process has outside of itself, behind its ports."""

from __future__ import annotations

import msgspec

from apx.admission.keys import KeyStore
from apx.limits.store import LimitStore
from apx.release.store import ReleaseStore
from apx.requests.ports import BlobStore, Bus, ResultStore
from apx.rollout.active import Leases, RolloutStore
from apx.rollout.counts import CountStore
from apx.rollout.objectives import Objectives


class Backends(msgspec.Struct, frozen=True):
    """Everything outside this process, behind its ports."""

    keys: KeyStore
    rollouts: RolloutStore
    bus: Bus
    results: ResultStore
    blobs: BlobStore
    releases: ReleaseStore
    counts: CountStore
    objectives: Objectives
    leases: Leases
    limits: LimitStore
