"""What the model of costs takes for granted of the stacks (apx/usage/per_request.py), held to a plan of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apx.usage import per_request as per
from tests.stacks.plans import Plan
from tests.stacks.pods import manifests, mib, pods

DAY_S = 86_400
EVENTS = {
    "request": "jsonPayload.trace_id",
    "request-finished": "jsonPayload.trace_id",
    "edge.request": "jsonPayload.request_id",
}


@pytest.fixture(scope="module")
def usual(planned: Callable[[str, int], Plan]) -> Plan:
    """Return the environment that changes no default."""
    return planned("staging", 1)


def test_pods_ask_for_what_is_counted(usual: Plan) -> None:
    vcpu, memory = {}, {}
    for one, pod in pods(usual):
        requests = [container["resources"]["requests"] for container in pod["container"]]
        vcpu[one.body["metadata"]["name"]] = sum(int(each["cpu"].removesuffix("m")) for each in requests) / 1000
        memory[one.body["metadata"]["name"]] = sum(mib(each["memory"]) for each in requests) / 1024
    assert (vcpu, memory) == (per.VCPU_PER_POD, per.GIB_PER_POD)


def test_there_are_as_many_pods_at_least(usual: Plan) -> None:
    least = {one.body["metadata"]["name"]: int(one.body["spec"].get("replicas", 0)) for one, _ in pods(usual)}
    for one in usual.resources("kubernetes_horizontal_pod_autoscaler_v2"):
        least[one.body["metadata"]["name"]] = one.body["spec"]["min_replicas"]
    assert least == per.LEAST_PODS


def test_processes_are_scraped_as_often(usual: Plan) -> None:
    endpoints = {one["metadata"]["name"]: one["spec"]["endpoints"] for one in manifests(usual, "PodMonitoring")}
    assert {name: len(each) for name, each in endpoints.items()} == per.SCRAPED_PER_POD
    every = {one["interval"] for each in endpoints.values() for one in each}
    assert every == {f"{DAY_S // per.SCRAPES_PER_DAY}s"}


def test_valkey_has_as_many_nodes(usual: Plan) -> None:
    (one,) = usual.resources("google_memorystore_instance")
    assert one.body["shard_count"] * (1 + one.body["replica_count"]) == per.VALKEY_NODES
    assert one.body["node_type"] == "STANDARD_SMALL"


def test_the_edge_has_as_many_rules_and_policies(usual: Plan) -> None:
    policies = usual.resources("google_compute_security_policy")
    assert len(usual.resources("google_compute_global_forwarding_rule")) == per.FORWARDING_RULES
    assert (len(policies), sum(len(one.body["rule"]) for one in policies)) == (per.ARMOR_POLICIES, per.ARMOR_RULES)


def test_what_is_stored_is_kept_as_long(usual: Plan) -> None:
    (backup,) = usual.resources("google_firestore_backup_schedule")
    (audit,) = usual.resources("google_logging_project_bucket_config")
    (bucket,) = [one for one in usual.resources("google_storage_bucket") if one.body.get("versioning")]
    ages = [rule["condition"] for rule in bucket.body["lifecycle_rule"]]
    assert backup.body["retention"] == f"{per.BACKUP_DAYS * DAY_S}s"
    assert audit.body["retention_days"] == per.AUDIT_DAYS
    assert bucket.body["soft_delete_policy"]["retention_duration_seconds"] == per.SOFT_DELETED_DAYS * DAY_S
    assert [age["days_since_noncurrent_time"] for age in ages if "days_since_noncurrent_time" in age] == [
        per.OLD_VERSION_DAYS
    ]
    assert [age["days_since_custom_time"] for age in ages if "days_since_custom_time" in age] == [per.MOST_KEPT_DAYS]


def test_of_what_succeeded_as_many_lines_are_kept(usual: Plan) -> None:
    exclusions = [one.body["filter"] for one in usual.resources("google_logging_project_exclusion")]
    for event, field in EVENTS.items():
        (left_out,) = [one for one in exclusions if f'event="{event}"' in one and "sample(" in one]
        assert left_out.endswith(f" sample({field}, {1 - per.SUCCEEDED_KEPT:g})")


def test_of_our_own_calls_as_many_are_audited(usual: Plan) -> None:
    """Nobody is exempted: what a stolen identity does elsewhere, and what is refused, is kept whole."""
    (one,) = usual.resources("google_project_iam_audit_config")
    configs = one.body["audit_log_config"]
    assert {each["log_type"] for each in configs} >= {"DATA_READ", "DATA_WRITE"}
    assert not any(each.get("exempted_members") for each in configs)
    (sink,) = usual.resources("google_logging_project_sink")
    (left_out,) = sink.body["exclusions"]
    assert left_out["filter"].endswith(f" sample(insertId, {1 - per.OWN_CALLS_KEPT:g})")
    assert ' ip_in_net(protoPayload.requestMetadata.callerIp, "10.0.0.0/8") ' in left_out["filter"]
    assert " severity<WARNING " in left_out["filter"]
    for name in ("router", "worker", "monitor", "control"):
        assert f'"apx-{name}@' in left_out["filter"]
