"""Losing data: at once, or by taking away what would have brought it back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stacks.changes.model import Danger, Delta, Kind, Replacement
from stacks.changes.rules.saying import high, medium

KEEPERS: Mapping[str, str] = {
    "google_artifact_registry_repository": "the repository with all images, also those that run",
    "google_bigquery_dataset": "the dataset with all its tables",
    "google_bigquery_table": "the table with all its rows",
    "google_container_cluster": "the cluster with all that runs in it",
    "google_firestore_backup_schedule": "the schedule of the database's backups",
    "google_firestore_database": "the database with all its documents",
    "google_gke_backup_backup_plan": "the plan of the cluster's backups",
    "google_kms_crypto_key": "the key, without which nothing under it can be read again",
    "google_kms_key_ring": "the key ring, whose name can never be used again",
    "google_logging_project_bucket_config": "the log bucket with all its logs",
    "google_memorystore_instance": "the Valkey instance with all it holds",
    "google_pubsub_subscription": "the subscription with all messages that wait in it",
    "google_pubsub_topic": "the topic with all messages it keeps",
    "google_secret_manager_secret": "the secret with all its versions",
    "google_storage_bucket": "the bucket with all its objects",
}
"""What is lost with a resource of a type."""
_DAY_S = 86_400
_SWITCHES: tuple[tuple[tuple[str, ...], frozenset[Any], str], ...] = (
    (("lifecycle", "prevent_destroy"), frozenset({True}), "`prevent_destroy` is taken away"),
    (("deletion_protection",), frozenset({True}), "the protection from deletion is turned off"),
    (("deletion_protection_enabled",), frozenset({True}), "the protection from deletion is turned off"),
    (
        ("delete_protection_state",),
        frozenset({"DELETE_PROTECTION_ENABLED"}),
        "the protection from deletion is turned off",
    ),
    (
        ("point_in_time_recovery_enablement",),
        frozenset({"POINT_IN_TIME_RECOVERY_ENABLED"}),
        "point-in-time recovery is turned off",
    ),
    (("versioning", "enabled"), frozenset({True}), "versioning is turned off"),
    (("locked",), frozenset({True}), "the retention is not locked any more"),
    (("deletion_policy",), frozenset({"ABANDON", "PREVENT", None}), "destroying it deletes it in the cloud, too"),
    (("force_destroy",), frozenset({False, None}), "it may be destroyed with what is in it"),
    (("delete_contents_on_destroy",), frozenset({False, None}), "it may be destroyed with what is in it"),
    (("persistence_config", "mode"), frozenset({"AOF", "RDB"}), "persistence is turned off"),
)
"""Paths, the values that are safe, and what a change to any other says."""
_LASTING: tuple[tuple[str, ...], ...] = (
    ("message_retention_duration",),
    ("retention",),
    ("retention_days",),
    ("version_destroy_ttl",),
    ("destroy_scheduled_duration",),
    ("automated_backup_config", "retention"),
    ("retention_policy", "backup_retain_days"),
    ("retention_policy", "retention_period"),
    ("soft_delete_policy", "retention_duration_seconds"),
)
"""How long things are kept: shorter is worse, and so is not saying it any more."""
_EXPIRING: tuple[tuple[str, ...], ...] = (
    ("default_table_expiration_ms",),
    ("default_partition_expiration_ms",),
    ("time_partitioning", "expiration_ms"),
    ("expiration_policy", "ttl"),
)
"""When things go away by themselves: earlier is worse, and nothing said is never."""
_BACKUPS = ("automated_backup_config", "backup_schedule")


def loss(delta: Delta) -> Iterator[Danger]:
    """Find what keeps data and is destroyed or replaced, for certain or perhaps."""
    what = KEEPERS.get(delta.type)
    if what is None or delta.before is None:
        return
    if delta.kind is Kind.DESTROYED:
        yield high("data-loss", f"Terraform would destroy {what}.")
    elif delta.kind is Kind.REPLACED:
        yield high("data-loss", f"Terraform would destroy {what}, and create another in its place.{_guarded(delta)}")
    elif unsure := [one for one in delta.differences if one.replacement is Replacement.MAY]:
        why = unsure[0].because or f"nobody has looked up what a change of {unsure[0].dotted} does"
        yield medium("data-loss", f"Terraform may replace {what}: {why}.")


def _guarded(delta: Delta) -> str:
    return " `prevent_destroy` makes it refuse." if delta.at("after", "lifecycle", "prevent_destroy") is True else ""


def safeguards(delta: Delta) -> Iterator[Danger]:
    """Find what is turned off that keeps data from being destroyed, or brings it back."""
    if delta.before is None or delta.after is None:
        return
    for path, safe, says in _SWITCHES:
        before, after = delta.both(*path)
        if before in safe and after not in safe:
            yield high("safeguard-off", f"{says[0].upper()}{says[1:]}.")
    for block in _BACKUPS:
        if delta.at("before", block) is not None and delta.at("after", block) is None:
            yield high("safeguard-off", "Backups are turned off.")


def retention(delta: Delta) -> Iterator[Danger]:
    """Find what is kept shorter than before."""
    if delta.before is None or delta.after is None:
        return
    yield from _compared(delta, _LASTING, lambda old, new: old is not None and (new is None or new < old))
    yield from _compared(delta, _EXPIRING, lambda old, new: new is not None and (old is None or new < old))
    if delta.type == "google_storage_bucket":
        yield from _lifecycle(delta)
    if delta.type == "google_firestore_field" and not _has(delta, "before") and _has(delta, "after"):
        yield high("retention-shortened", "Documents are deleted when the time in this field has come.")


def _has(delta: Delta, side: str) -> bool:
    return delta.at(side, "ttl_config") is not None


def _compared(
    delta: Delta, paths: tuple[tuple[str, ...], ...], worse: Callable[[float | None, float | None], bool]
) -> Iterator[Danger]:
    for path in paths:
        old, new = (_number(value) for value in delta.both(*path))
        if old != new and worse(old, new):
            before, after = delta.both(*path)
            yield high("retention-shortened", f"{'.'.join(path)} is shortened: {_said(before)} → {_said(after)}.")


def _number(value: Any) -> float | None:
    """Return a number, or a duration as Google writes it (`604800s`); None for nothing said."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s?", value) if isinstance(value, str) else None
    return float(found[1]) if found else None


def _said(value: Any) -> str:
    seconds = _number(value)
    if isinstance(value, str) and value.endswith("s") and seconds is not None and not seconds % _DAY_S:
        return f"{seconds / _DAY_S:.0f} days"
    return "not said" if value in (None, "") else str(value)


def _lifecycle(delta: Delta) -> Iterator[Danger]:
    """Find a rule that deletes objects which were kept before."""
    old, new = (_deleting(delta.at(side, "lifecycle_rule")) for side in ("before", "after"))
    if [rule for rule in new if rule not in old]:
        yield high("retention-shortened", "Another rule deletes objects of the bucket.")


def _deleting(rules: Any) -> list[Any]:
    found = rules if isinstance(rules, list) else [rules] if rules else []
    return [rule for rule in found if "Delete" in str(rule.get("action"))]
