"""What Terraform means to do, in words; and the digest by which somebody approves exactly that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Action = Literal["add", "change", "replace", "destroy", "forget", "move"]
ACTIONS: Mapping[tuple[str, ...], Action] = {
    ("create",): "add",
    ("update",): "change",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("delete",): "destroy",
    ("forget",): "forget",
    ("create", "forget"): "replace",
}
"""What is in none of these (`no-op`, `read`) changes nothing."""
MARKS: Mapping[Action, str] = {"add": "+", "change": "~", "replace": "-/+", "destroy": "-", "forget": ".", "move": ">"}
KEEPS: Mapping[str, str] = {
    "google_artifact_registry_repository": "every image, also those to go back to",
    "google_bigquery_dataset": "who used what, since the beginning",
    "google_bigquery_table": "who used what, since the beginning",
    "google_compute_global_address": "the address that the domain's records name",
    "google_container_cluster": "everything that runs in the region, and the plan of its backups",
    "google_firestore_backup_schedule": "the backups of the days to come",
    "google_firestore_database": "keys, rollouts, results and the audit of the region",
    "google_gke_backup_backup_plan": "the cluster's backups of the days to come",
    "google_kms_crypto_key": "all that is encrypted or signed with the key",
    "google_kms_key_ring": "all that is encrypted or signed with its keys",
    "google_logging_project_bucket_config": "who did what, for 400 days",
    "google_memorystore_instance": "the lanes, counts and limits of the region until the journal has filled them again",
    "google_pubsub_subscription": "accepted requests that have no result yet",
    "google_pubsub_topic": "accepted requests that have no result yet",
    "google_secret_manager_secret": "a secret: every receipt, token or arm made with it becomes void",
    "google_storage_bucket": "the region's releases and large bodies",
}
"""What is lost with a resource of a type. Whoever destroys or replaces one has to name it."""
NOISE = frozenset({"etag", "fingerprint", "generation", "resource_version", "status", "uid", "update_time"})
"""Fields that change by themselves: neither drift, nor a reason to approve a plan again."""
SHOWN_FIELDS = 6


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one resource. It holds names of fields, never their values, which may be secret."""

    address: str
    type: str
    action: Action
    fields: tuple[str, ...] = ()
    """Of a change, which; of a replacement, which force it."""

    @property
    def lost(self) -> str:
        """Return what is lost by it; empty when nothing is."""
        return KEEPS.get(self.type, "") if self.action in ("replace", "destroy", "forget") else ""

    def __str__(self) -> str:
        some = ", ".join(self.fields[:SHOWN_FIELDS]) + (", …" if len(self.fields) > SHOWN_FIELDS else "")
        fields = f"  ({'forced by ' if self.action == 'replace' else ''}{some})" if some else ""
        return f"{MARKS[self.action]:>3} {self.address}{fields}" + (f"  LOSES {self.lost}" if self.lost else "")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What Terraform would do to one stack."""

    stack: str
    changes: tuple[Change, ...] = ()
    outputs: tuple[str, ...] = ()
    """Outputs that change, by name."""
    drift: tuple[Change, ...] = ()
    """What somebody else did to it since the last time."""
    digest: str
    new: bool = False
    """Nothing of the stack is there yet."""

    @property
    def empty(self) -> bool:
        """Say whether there is nothing to do."""
        return not self.changes and not self.outputs

    @property
    def losses(self) -> dict[str, str]:
        """Return what keeps data and would be destroyed or replaced, as STACK.TYPE.NAME, and what is lost with it."""
        return {f"{self.stack}.{change.address}": change.lost for change in self.changes if change.lost}

    @property
    def summary(self) -> str:
        """Return how much is done, in one line."""
        if self.empty:
            return f"{self.stack}: no changes"
        counted = {action: sum(change.action == action for change in self.changes) for action in MARKS}
        told = [f"{count} to {action}" for action, count in counted.items() if count]
        return f"{self.stack}: {', '.join(told) or 'outputs change: ' + ', '.join(self.outputs)}"

    def __str__(self) -> str:
        if self.empty:
            return self.summary
        return "\n".join([self.summary, *map(str, self.changes), f"    plan {self.digest}"])


def read_plan(stack: str, shown: bytes) -> Plan:
    """Read what `terraform show -json` says of a saved plan."""
    said = msgspec.json.decode(shown)
    outputs = {name: one for name, one in said.get("output_changes", {}).items() if one["actions"] != ["no-op"]}
    done = [one for one in said.get("resource_changes", ()) if _action(one)]
    essence = [sorted((_essence(one) for one in done), key=lambda one: str(one[0])), sorted(outputs)]
    return Plan(
        stack=stack,
        changes=tuple(_change(one) for one in done),
        outputs=tuple(sorted(outputs)),
        drift=tuple(_change(one) for one in said.get("resource_drift", ()) if _drifted(one)),
        digest=_digest([stack, *essence]),
        new=not any(one["mode"] == "managed" for one in _known(said)),
    )


def _known(said: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what the state has, with what was looked up for the plan."""
    values = said.get("prior_state", {}).get("values") or {}
    found: Sequence[Mapping[str, Any]] = values.get("root_module", {}).get("resources", ())
    return found


def _action(one: Mapping[str, Any]) -> Action | None:
    """Return what becomes of a resource; None where nothing does."""
    moved = one.get("previous_address") or one["change"].get("importing")
    return ACTIONS.get(tuple(one["change"]["actions"]), "move" if moved else None)


def _change(one: Mapping[str, Any]) -> Change:
    action = _action(one) or "change"
    fields: tuple[str, ...] = ()
    if action == "change":
        fields = tuple(_different(one["change"])) or tuple(_different(one["change"], calm=False))
    if action == "replace":
        fields = tuple(".".join(map(str, path)) for path in one["change"].get("replace_paths", ()))
    return Change(address=one["address"], type=one["type"], action=action, fields=fields)


def _drifted(one: Mapping[str, Any]) -> bool:
    """Say whether more was done to a resource than what changes by itself."""
    return _action(one) not in (None, "change") or bool(_different(one["change"]))


def _essence(one: Mapping[str, Any]) -> Sequence[Any]:
    """Return what a person approves: the resource, what becomes of it, and the values that differ."""
    change = one["change"]
    if change["actions"] == ["delete"]:
        return [one["address"], change["actions"]]
    return [one["address"], change["actions"], _different(change), change.get("replace_paths", [])]


def _different(change: Mapping[str, Any], *, calm: bool = True) -> dict[str, Any]:
    """Return the fields that differ, each with its value before and after, and whether that is known yet."""
    before, after, unknown = (change.get(part) or {} for part in ("before", "after", "after_unknown"))
    found = {}
    for field in sorted({*before, *after, *(name for name, value in unknown.items() if value)}):
        values = (before.get(field), after.get(field))
        was, becomes = map(_calm, values) if calm else values
        if was != becomes or unknown.get(field) is True:
            found[field] = [was, becomes, unknown.get(field)]
    return {field: value for field, value in found.items() if not calm or field not in NOISE}


def _calm(value: Any) -> Any:
    """Return a value without what changes by itself."""
    if isinstance(value, Mapping):
        return {name: _calm(inner) for name, inner in value.items() if name not in NOISE}
    return [_calm(inner) for inner in value] if isinstance(value, list) else value


def _digest(value: Any) -> str:
    return f"sha256:{hashlib.sha256(msgspec.json.encode(value, order='deterministic')).hexdigest()}"
