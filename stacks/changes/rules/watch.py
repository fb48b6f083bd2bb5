"""What would no longer be noticed, and what is interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stacks.changes.model import Danger, Delta, Kind, Part
from stacks.changes.rules.saying import high, medium

RULE = "monitoring-weakened"
WATCHING: Mapping[str, str] = {
    "google_logging_metric": "A metric is gone that alerts may be made of.",
    "google_logging_project_sink": "Logs are no longer kept where they were.",
    "google_monitoring_alert_policy": "An alert is gone.",
    "google_monitoring_notification_channel": "Somebody is no longer told of alerts.",
    "google_monitoring_slo": "An objective is gone.",
    "google_monitoring_uptime_check_config": "Nobody asks any more whether it is up.",
    "google_project_iam_audit_config": "What people do is no longer written down.",
}
INTERRUPTED: Mapping[str, str] = {
    "google_compute_global_address": "The address is another: clients and DNS know the old one.",
    "google_compute_network": "The network is gone, with all that is in it, until all of it is made again.",
    "google_compute_subnetwork": "The subnet is gone, with all that is in it, until all of it is made again.",
    "google_container_node_pool": "The machines are gone: all that runs on them has to start elsewhere.",
    "google_iam_workload_identity_pool": "Nobody comes in by the pool until it is made again under another id.",
    "google_service_account": "What the account was given has to be given again.",
    "kubernetes_namespace_v1": "All that is in the namespace is gone.",
}
_STATE = frozenset({"backend"})


def watching(delta: Delta) -> Iterator[Danger]:
    """Find an alert, an objective or a log that is taken away, or says less."""
    if delta.kind is Kind.DESTROYED and delta.type in WATCHING:
        yield high(RULE, WATCHING[delta.type])
    if delta.type == "google_logging_project_exclusion" and delta.kind is Kind.ADDED:
        yield medium(RULE, "Some logs are no longer kept.")
    if delta.before is None or delta.after is None:
        return
    if delta.type == "google_monitoring_alert_policy":
        yield from _alert(delta)
    if delta.type == "google_monitoring_slo" and float(delta.after.get("goal", 0)) < float(delta.before.get("goal", 0)):
        yield medium(RULE, f"The objective is lower: {delta.before.get('goal')} → {delta.after.get('goal')}.")
    if delta.type == "google_project_iam_audit_config" and _fewer(delta, "audit_log_config"):
        yield high(RULE, "Less of what people do is written down.")


def _alert(delta: Delta) -> Iterator[Danger]:
    if delta.at("before", "enabled") is not False and delta.at("after", "enabled") is False:
        yield high(RULE, "An alert is turned off.")
    if _fewer(delta, "notification_channels"):
        yield high(RULE, "Fewer are told of the alert.")
    if _fewer(delta, "conditions"):
        yield high(RULE, "The alert has fewer conditions.")


def _fewer(delta: Delta, name: str) -> bool:
    before, after = delta.both(name)
    return len(after or ()) < len(before or ())


def interruption(delta: Delta) -> Iterator[Danger]:
    """Find something that others stand on, gone or made anew."""
    if delta.kind in (Kind.DESTROYED, Kind.REPLACED) and delta.type in INTERRUPTED:
        yield high("interruption", INTERRUPTED[delta.type])


def settings(delta: Delta) -> Iterator[Danger]:
    """Find another place of the state, or another cloud."""
    if delta.address.part is not Part.SETTING or delta.kind is not Kind.CHANGED:
        return
    section, name = delta.address.type, delta.address.name
    if section == "terraform" and name in _STATE:
        yield high("state-moved", "Terraform would look for its state elsewhere, and make everything anew.")
    if section == "provider":
        for one in delta.differences:
            if one.path[-1] in ("project", "region", "zone", "host"):
                yield high("elsewhere", f"All that does not say its own {one.path[-1]} is made in another.")
