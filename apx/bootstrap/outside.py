"""What a process has outside of itself, behind its ports."""

from __future__ import annotations

import msgspec

from apx.admission.keys import KeyStore
from apx.admission.members import MemberStore
from apx.admission.orgs import OrgStore
from apx.audit.members import RecordedMembers
from apx.audit.record import By, RecordedKeys, RecordedOrgs, Recorder
from apx.audit.store import AuditStore
from apx.audit.webhooks import RecordedWebhooks
from apx.limits.store import LimitStore
from apx.release.store import ReleaseStore
from apx.requests.ports import BlobStore, Bus, ResultStore
from apx.rollout.active import Leases, RolloutStore
from apx.rollout.counts import CountStore
from apx.rollout.objectives import Objectives
from apx.usage.events import UsageLog
from apx.webhooks.store import WebhookStore


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
    audit: AuditStore
    orgs: OrgStore
    members: MemberStore
    webhooks: WebhookStore
    ended: UsageLog
    """What ended, as webhooks are told of it."""

    def by(self, by: By) -> Backends:
        """Return the same, with what somebody changes of keys, orgs, members and webhooks recorded."""
        recorder = Recorder(self.audit, by)
        return msgspec.structs.replace(
            self,
            keys=RecordedKeys(self.keys, recorder),
            orgs=RecordedOrgs(self.orgs, recorder),
            members=RecordedMembers(self.members, recorder),
            webhooks=RecordedWebhooks(self.webhooks, recorder),
        )
