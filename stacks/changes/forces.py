"""Which attributes make Terraform destroy a resource and create it again.

From the providers' sources: `ForceNew: true` in `google/services/<service>/resource_<name>.go` of
hashicorp/terraform-provider-google (the lock pins 6.50.0) and in `kubernetes/resource_kubernetes_<name>.go` of
hashicorp/terraform-provider-kubernetes (2.38.0), each row with the file it is about. The rows of `READ` were compared
with a version of that file that was at hand, not always the pinned one; in the others, and in what those files decide
in code (`CustomizeDiff`), an attribute is only said to be changed in place where the API documents it so. Whatever
is in no row may force replacement: that is said, rather than that all is well.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stacks.changes.forces_table import ROWS
from stacks.changes.model import Replacement, unindexed

READ = frozenset(
    {
        *("google_compute_firewall", "google_compute_network", "google_container_node_pool"),
        *("google_firestore_backup_schedule", "google_firestore_database"),
        *("google_kms_crypto_key", "google_logging_project_sink"),
        *("google_memorystore_instance", "google_pubsub_subscription", "google_pubsub_topic"),
        *("google_secret_manager_secret", "google_storage_bucket", "kubernetes_network_policy_v1"),
        "kubernetes_pod_disruption_budget_v1",
    }
)
ALL = "*"
_OF_TERRAFORM = frozenset({"depends_on", "lifecycle", "timeouts", "provisioner", "connection"})
_NEVER = frozenset(
    {"labels", "annotations", "user_labels", "resource_labels", "deletion_protection", "deletion_policy"}
)
"""What no resource of these providers is replaced for."""


class Forces(msgspec.Struct, frozen=True):
    """What is known of a type; paths without indexes, and `*` for whatever is not named."""

    replaced_by: frozenset[str]
    in_place: frozenset[str]
    source: str
    """The file in the provider's repository."""

    def of(self, path: str) -> Replacement:
        """Return what the longest known beginning of a path says."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            known = ".".join(parts[:length])
            if known in self.replaced_by:
                return Replacement.YES
            if known in self.in_place:
                return Replacement.NO
        if ALL in self.replaced_by:
            return Replacement.YES
        return Replacement.NO if ALL in self.in_place else Replacement.MAY


TABLE: Mapping[str, Forces] = {
    type_: Forces(frozenset(replaced_by.split()), frozenset(in_place.split()), source)
    for type_, (source, replaced_by, in_place) in ROWS.items()
}


def replacement(type_: str, path: tuple[str, ...]) -> Replacement:
    """Say whether a change at a path of a type replaces the resource; `may` for what nobody has looked up."""
    names = unindexed(path)
    first = names[0] if names else ""
    if first in _OF_TERRAFORM or first in _NEVER:
        return Replacement.NO
    if type_.startswith("google_") and first == "project":
        return Replacement.YES
    row = TABLE.get(type_)
    return row.of(".".join(names)) if row else Replacement.MAY
