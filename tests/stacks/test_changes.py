"""What a change of the stacks is told to do: on small hand-made syntheses, one behaviour a test."""

from __future__ import annotations

import ast
import json
import random
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.cli.impact_markdown import MOST_BYTES
from apx.errors import Misconfigured
from stacks.changes import __main__ as command
from stacks.changes import sides
from stacks.changes.compare import compare
from stacks.changes.forces import READ, TABLE, replacement
from stacks.changes.model import (
    Address,
    Change,
    EnvironmentChanges,
    Kind,
    Part,
    Presence,
    Replacement,
    Report,
)
from stacks.changes.render import markdown, text
from stacks.changes.report import changes
from stacks.changes.synthesised import Tree, read_folder
from tests.stacks.plans import ROOT

Resources = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By type and name: `{"google_pubsub_topic": {"requests": {"name": "requests"}}}`."""
Told = Callable[[Resources, Resources], tuple[Change, ...]]
DATABASE = {"name": "apx-here", "location_id": "here", "type": "FIRESTORE_NATIVE"}
MEMBER = {"project": "apx", "role": "roles/storage.objectViewer", "member": "serviceAccount:a@apx"}
FIREWALL = {
    "name": "doors",
    "network": "vpc",
    "priority": 1000,
    "source_ranges": ["130.211.0.0/22", "35.191.0.0/16"],
    "allow": [{"protocol": "tcp", "ports": ["8080", "8081"]}],
}


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Return what differs between two syntheses of one stack, `data`, of the environment `dev`."""

    def of(before: Resources, after: Resources) -> tuple[Change, ...]:
        trees = [tree(tmp_path / name, {"data": {"resource": one}}) for name, one in (("a", before), ("b", after))]
        return changes(trees[0], trees[1], "dev")

    return of


def tree(folder: Path, stacks: Mapping[str, Any]) -> Tree:
    for name, document in stacks.items():
        path = folder / "stacks" / f"dev-{name}" / "cdk.tf.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return read_folder(folder, "dev")


def one(type_: str, body: Mapping[str, Any]) -> Resources:
    return {type_: {"it": body}}


def rules(found: tuple[Change, ...]) -> list[tuple[str, str]]:
    return [(danger.rule, danger.severity.value) for change in found for danger in change.dangers]


# What differs.


def test_a_resource_that_came_is_told_as_added(told: Told) -> None:
    (found,) = told({}, one("google_pubsub_topic", {"name": "t"}))
    assert (found.kind, found.stack, found.type, found.name) == (Kind.ADDED, "data", "google_pubsub_topic", "it")


def test_a_resource_that_went_is_told_as_destroyed(told: Told) -> None:
    (found,) = told(one("google_pubsub_topic", {"name": "t"}), {})
    assert found.kind is Kind.DESTROYED


def test_a_changed_attribute_is_told_with_both_values(told: Told) -> None:
    (found,) = told(
        one("google_pubsub_subscription", {"name": "s", "retry_policy": {"minimum_backoff": "1s"}}),
        one("google_pubsub_subscription", {"name": "s", "retry_policy": {"minimum_backoff": "2s"}}),
    )
    (attribute,) = found.attributes
    assert (attribute.path, attribute.before, attribute.after) == ("retry_policy.minimum_backoff", "1s", "2s")
    assert found.kind is Kind.CHANGED


def test_what_cdktf_writes_for_itself_is_no_change(told: Told) -> None:
    bodies = [{"name": "t", "//": {"metadata": {"path": path}}} for path in ("dev-data/a", "dev-data/b")]
    assert told(one("google_pubsub_topic", bodies[0]), one("google_pubsub_topic", bodies[1])) == ()


def test_the_order_of_a_set_is_no_change(told: Told) -> None:
    turned = {**FIREWALL, "source_ranges": FIREWALL["source_ranges"][::-1]}  # type: ignore[index]
    assert told(one("google_compute_firewall", FIREWALL), one("google_compute_firewall", turned)) == ()


def test_the_order_of_a_list_is_a_change(told: Told) -> None:
    bodies = [{"table_id": "t", "clustering": names} for names in (["a", "b"], ["b", "a"])]
    (found,) = told(one("google_bigquery_table", bodies[0]), one("google_bigquery_table", bodies[1]))
    assert [attribute.path for attribute in found.attributes] == ["clustering[0]", "clustering[1]"]


def test_the_layout_of_a_schema_is_no_change(told: Told) -> None:
    bodies = [{"table_id": "t", "schema": text} for text in ('[{"name":"a"}]', '[ {"name": "a"} ]')]
    assert told(one("google_bigquery_table", bodies[0]), one("google_bigquery_table", bodies[1])) == ()


def test_true_is_not_one(told: Told) -> None:
    bodies = [{"rolling_period_days": value} for value in (True, 1)]
    assert told(one("google_monitoring_slo", bodies[0]), one("google_monitoring_slo", bodies[1])) != ()


def test_a_renamed_address_is_told_as_moved(told: Told) -> None:
    topic = {"name": "t", "labels": {"a": "b"}}
    (found,) = told({"google_pubsub_topic": {"old": topic}}, {"google_pubsub_topic": {"new": topic}})
    assert (found.kind, found.name, found.moved_from) == (Kind.REPLACED, "new", "data: google_pubsub_topic.old")
    assert rules((found,)) == [("data-loss", "high")]


def test_outputs_and_data_sources_are_compared(tmp_path: Path) -> None:
    before = tree(tmp_path / "a", {"data": {"output": {"o": {"value": "1"}}, "data": {"google_project": {"p": {}}}}})
    after = tree(tmp_path / "b", {"data": {"output": {"o": {"value": "2"}}}})
    assert [(change.part, change.kind) for change in changes(before, after, "dev")] == [
        (Part.DATA, Kind.DESTROYED),
        (Part.OUTPUT, Kind.CHANGED),
    ]


def test_another_place_of_the_state_is_a_danger(tmp_path: Path) -> None:
    trees = [
        tree(tmp_path / name, {"data": {"terraform": {"backend": {"gcs": {"bucket": name}}}}}) for name in ("a", "b")
    ]
    assert rules(changes(trees[0], trees[1], "dev")) == [("state-moved", "high")]


# What is replaced.


def test_an_attribute_that_forces_replacement_replaces(told: Told) -> None:
    (found,) = told(
        one("google_firestore_database", DATABASE), one("google_firestore_database", {**DATABASE, "name": "x"})
    )
    assert (found.kind, found.forced_by) == (Kind.REPLACED, ("name",))


def test_an_unknown_attribute_may_force_replacement(told: Told) -> None:
    bodies = [{"name": "x", "who_knows": value} for value in ("a", "b")]
    (found,) = told(one("google_storage_bucket", bodies[0]), one("google_storage_bucket", bodies[1]))
    assert (found.kind, found.may_be_replaced_by) == (Kind.CHANGED, ("who_knows",))
    assert rules((found,)) == [("data-loss", "medium")]


def test_what_names_a_replaced_resource_is_replaced(told: Told) -> None:
    field = {"database": "${google_firestore_database.it.name}", "collection": "keys", "field": "record"}
    found = told(
        {"google_firestore_database": {"it": DATABASE}, "google_firestore_field": {"f": field}},
        {"google_firestore_database": {"it": {**DATABASE, "name": "x"}}, "google_firestore_field": {"f": field}},
    )
    assert [(change.type, change.kind) for change in found][1] == ("google_firestore_field", Kind.REPLACED)


def test_what_names_an_attribute_that_stays_is_not_replaced(told: Told) -> None:
    field = {"database": "${google_firestore_database.it.name}", "collection": "keys", "field": "record"}
    found = told(
        {"google_firestore_database": {"it": DATABASE}, "google_firestore_field": {"f": field}},
        {"google_firestore_database": {"it": {**DATABASE, "location_id": "x"}}, "google_firestore_field": {"f": field}},
    )
    assert [change.type for change in found] == ["google_firestore_database"]


def test_what_names_a_replaced_resource_of_another_stack_may_be_replaced(tmp_path: Path) -> None:
    reference = "${data.terraform_remote_state.cross-stack-reference-input-dev-encryption.outputs.key}"
    trees = [
        tree(
            tmp_path / purpose,
            {
                "encryption": {
                    "resource": one("google_kms_crypto_key", {"name": "k", "purpose": purpose}),
                    "output": {"key": {"value": "${google_kms_crypto_key.it.id}"}},
                },
                "data": {"resource": one("google_memorystore_instance", {"instance_id": "v", "kms_key": reference})},
            },
        )
        for purpose in ("ENCRYPT_DECRYPT", "MAC")
    ]
    found = changes(trees[0], trees[1], "dev")
    assert [(change.type, change.kind, change.may_be_replaced_by) for change in found] == [
        ("google_memorystore_instance", Kind.CHANGED, ("kms_key",)),
        ("google_kms_crypto_key", Kind.REPLACED, ()),
    ]


def test_every_type_of_the_stacks_has_a_row() -> None:
    assert sorted(types_of_the_stacks() - set(TABLE)) == []


def test_no_row_is_of_a_type_that_the_stacks_do_not_use() -> None:
    assert sorted({*TABLE, *READ} - types_of_the_stacks()) == []


def types_of_the_stacks() -> set[str]:
    """Return the types of resources that modules of `stacks` import."""
    found = set()
    for path in (ROOT / "stacks").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.removeprefix("cdktf_cdktf_provider_") for name in names if name.startswith("cdktf_cdktf")}
    return {name.replace(".", "_") for name in found if ".data_" not in name and not name.endswith(".provider")}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("replication", "user_managed", "replicas", "[0]", "location"), Replacement.YES),
        (
            ("replication", "user_managed", "replicas", "[0]", "customer_managed_encryption", "kms_key_name"),
            Replacement.NO,
        ),
        (("lifecycle", "prevent_destroy"), Replacement.NO),
        (("labels", "a"), Replacement.NO),
        (("unheard_of",), Replacement.MAY),
    ],
)
def test_the_longest_known_path_decides(path: tuple[str, ...], says: Replacement) -> None:
    assert replacement("google_secret_manager_secret", path) is says


def test_what_terraform_ignores_replaces_nothing(told: Told) -> None:
    bodies = [
        {"name": "n", "initial_node_count": count, "lifecycle": {"ignore_changes": ["initial_node_count"]}}
        for count in (1, 2)
    ]
    (found,) = told(one("google_container_node_pool", bodies[0]), one("google_container_node_pool", bodies[1]))
    assert found.kind is Kind.CHANGED


# What is dangerous.

POLICY = {
    "metadata": {"name": "edge", "namespace": "apx"},
    "spec": {"pod_selector": {}, "policy_types": ["Ingress", "Egress"], "ingress": [{"ports": [{"port": "8080"}]}]},
}
PROVIDER = {
    "workload_identity_pool_provider_id": "github",
    "attribute_condition": "a == 'b'",
    "oidc": {"issuer_uri": "https://token.example"},
}
ARMOR = {"name": "edge", "rule": [{"priority": 1, "action": "deny(403)"}, {"priority": 2, "action": "allow"}]}
DENY = {
    "name": "no",
    "network": "vpc",
    "priority": 65534,
    "source_ranges": ["0.0.0.0/0"],
    "deny": [{"protocol": "all"}],
}
BACKEND = {"name": "control", "iap": {"enabled": True}, "security_policy": "p"}
BUCKET = {
    "name": "b",
    "versioning": {"enabled": True},
    "encryption": {"default_kms_key_name": "k"},
    "lifecycle": {"prevent_destroy": True},
    "public_access_prevention": "enforced",
}
CLUSTER = {
    "name": "apx",
    "control_plane_endpoints_config": {"ip_endpoints_config": {"enabled": False}},
    "private_cluster_config": {"enable_private_nodes": True},
    "binary_authorization": {"evaluation_mode": "PROJECT_SINGLETON_POLICY_ENFORCE"},
    "workload_identity_config": {"workload_pool": "apx.svc.id.goog"},
    "security_posture_config": {"mode": "BASIC"},
    "deletion_protection": True,
}
CONTAINER = {
    "name": "router",
    "security_context": {
        "allow_privilege_escalation": False,
        "read_only_root_filesystem": True,
        "run_as_non_root": True,
        "capabilities": {"drop": ["ALL"]},
        "seccomp_profile": {"type": "RuntimeDefault"},
    },
}
SLO = {"slo_id": "s", "goal": 0.999}
ALERT = {"display_name": "a", "notification_channels": ["x"], "conditions": [{"display_name": "c"}]}


def deployment(**changed: Any) -> dict[str, Any]:
    context = {**CONTAINER["security_context"], **changed}  # type: ignore[dict-item]
    pod = {"automount_service_account_token": False, "container": [{**CONTAINER, "security_context": context}]}
    return {"metadata": {"name": "router", "namespace": "apx"}, "spec": {"template": {"spec": pod}}}


@pytest.mark.parametrize(
    ("type_", "before", "after", "rule"),
    [
        ("google_firestore_database", DATABASE, None, "data-loss"),
        ("google_firestore_database", DATABASE, {**DATABASE, "name": "x"}, "data-loss"),
        ("google_kms_crypto_key", {"name": "k"}, None, "data-loss"),
        ("google_secret_manager_secret", {"secret_id": "s"}, None, "data-loss"),
        ("google_container_cluster", CLUSTER, {**CLUSTER, "location": "there"}, "data-loss"),
        ("google_container_cluster", CLUSTER, {**CLUSTER, "deletion_protection": False}, "safeguard-off"),
        ("google_storage_bucket", BUCKET, {**BUCKET, "versioning": {"enabled": False}}, "safeguard-off"),
        ("google_storage_bucket", BUCKET, {**BUCKET, "lifecycle": {}}, "safeguard-off"),
        ("google_storage_bucket", BUCKET, {**BUCKET, "encryption": None}, "encryption-dropped"),
        ("google_storage_bucket", BUCKET, {**BUCKET, "public_access_prevention": "inherited"}, "iam-widened"),
        (
            "google_storage_bucket",
            BUCKET,
            {**BUCKET, "lifecycle_rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]},
            "retention-shortened",
        ),
        (
            "google_firestore_database",
            {**DATABASE, "point_in_time_recovery_enablement": "POINT_IN_TIME_RECOVERY_ENABLED"},
            {**DATABASE, "point_in_time_recovery_enablement": "POINT_IN_TIME_RECOVERY_DISABLED"},
            "safeguard-off",
        ),
        (
            "google_memorystore_instance",
            {"instance_id": "v", "automated_backup_config": {"retention": "86400s"}},
            {"instance_id": "v"},
            "safeguard-off",
        ),
        ("google_pubsub_topic", {"message_retention_duration": "86400s"}, {}, "retention-shortened"),
        ("google_firestore_backup_schedule", {"retention": "86401s"}, {"retention": "86400s"}, "retention-shortened"),
        ("google_pubsub_subscription", {"expiration_policy": {"ttl": ""}}, {}, None),
        ("google_pubsub_topic", {"kms_key_name": "k"}, {}, "encryption-dropped"),
        (
            "google_compute_ssl_policy",
            {"min_tls_version": "TLS_1_2"},
            {"min_tls_version": "TLS_1_0"},
            "encryption-dropped",
        ),
        ("google_project_iam_member", None, MEMBER, None),
        ("google_project_iam_member", None, {**MEMBER, "role": "roles/owner"}, "iam-widened"),
        ("google_project_iam_member", None, {**MEMBER, "member": "allUsers"}, "iam-widened"),
        ("google_project_iam_member", MEMBER, {**MEMBER, "role": "roles/storage.admin"}, "iam-widened"),
        ("google_project_iam_member", {**MEMBER, "role": "roles/storage.admin"}, MEMBER, None),
        ("google_project_iam_member", {**MEMBER, "condition": {"expression": "x"}}, MEMBER, "iam-widened"),
        (
            "google_service_account_iam_member",
            {**MEMBER, "role": "roles/iam.workloadIdentityUser", "member": "principal://pool/subject/repo:a"},
            {**MEMBER, "role": "roles/iam.workloadIdentityUser", "member": "principalSet://pool/*"},
            "iam-widened",
        ),
        (
            "google_project_iam_custom_role",
            {"role_id": "r", "permissions": ["a.b.get"]},
            {"role_id": "r", "permissions": ["a.b.get", "a.b.setIamPolicy"]},
            "iam-widened",
        ),
        (
            "google_iam_workload_identity_pool_provider",
            PROVIDER,
            {**PROVIDER, "attribute_condition": "a == 'b' || true"},
            "federation-widened",
        ),
        (
            "google_iam_workload_identity_pool_provider",
            PROVIDER,
            {**PROVIDER, "attribute_condition": "a == 'b' && c == 'd'"},
            None,
        ),
        ("google_compute_firewall", None, {**FIREWALL, "source_ranges": ["0.0.0.0/0"]}, "network-opened"),
        ("google_compute_firewall", FIREWALL, {**FIREWALL, "source_ranges": ["0.0.0.0/0"]}, "network-opened"),
        ("google_compute_firewall", FIREWALL, {**FIREWALL, "source_ranges": ["35.191.0.0/17"]}, None),
        ("google_compute_firewall", FIREWALL, {**FIREWALL, "allow": [{"protocol": "tcp"}]}, "network-opened"),
        (
            "google_compute_firewall",
            FIREWALL,
            {**FIREWALL, "allow": [{"protocol": "tcp", "ports": ["8080", "22"]}]},
            "network-opened",
        ),
        ("google_compute_firewall", FIREWALL, None, None),
        ("google_compute_firewall", DENY, None, "network-opened"),
        ("google_compute_firewall", DENY, {**DENY, "priority": 65535}, "network-opened"),
        ("google_compute_firewall", DENY, {**DENY, "source_ranges": ["10.0.0.0/8"]}, "network-opened"),
        ("google_compute_security_policy", ARMOR, {**ARMOR, "rule": ARMOR["rule"][1:]}, "armor-weakened"),
        ("google_compute_backend_service", BACKEND, {**BACKEND, "iap": {"enabled": False}}, "iap-off"),
        ("google_compute_backend_service", BACKEND, {**BACKEND, "security_policy": None}, "armor-weakened"),
        ("kubernetes_network_policy_v1", POLICY, None, "network-policy-weakened"),
        (
            "kubernetes_network_policy_v1",
            POLICY,
            {**POLICY, "spec": {**POLICY["spec"], "policy_types": ["Ingress"]}},  # type: ignore[dict-item]
            "network-policy-weakened",
        ),
        (
            "kubernetes_network_policy_v1",
            POLICY,
            {**POLICY, "spec": {**POLICY["spec"], "egress": [{}]}},  # type: ignore[dict-item]
            "network-policy-weakened",
        ),
        (
            "kubernetes_service_v1",
            {"metadata": {}, "spec": {"type": "ClusterIP"}},
            {"metadata": {}, "spec": {"type": "LoadBalancer"}},
            "network-opened",
        ),
        ("google_container_cluster", CLUSTER, {**CLUSTER, "control_plane_endpoints_config": {}}, "cluster-weakened"),
        ("google_container_cluster", CLUSTER, {**CLUSTER, "binary_authorization": None}, "cluster-weakened"),
        (
            "google_binary_authorization_policy",
            {"default_admission_rule": {"evaluation_mode": "REQUIRE_ATTESTATION"}},
            {"default_admission_rule": {"evaluation_mode": "ALWAYS_ALLOW"}},
            "attestation-weakened",
        ),
        ("kubernetes_deployment_v1", deployment(), deployment(privileged=True), "pod-security-weakened"),
        ("kubernetes_deployment_v1", deployment(), deployment(run_as_user="0"), "pod-security-weakened"),
        ("kubernetes_deployment_v1", deployment(), deployment(run_as_user="10001"), None),
        (
            "kubernetes_namespace_v1",
            {"metadata": {"name": "apx", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
            {"metadata": {"name": "apx", "labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
            "pod-security-weakened",
        ),
        ("google_monitoring_alert_policy", ALERT, None, "monitoring-weakened"),
        ("google_monitoring_alert_policy", ALERT, {**ALERT, "enabled": False}, "monitoring-weakened"),
        ("google_monitoring_slo", SLO, None, "monitoring-weakened"),
        ("google_compute_global_address", {"name": "a"}, {"name": "b"}, "interruption"),
    ],
)
def test_a_danger_is_marked_high_and_what_is_none_is_not(
    told: Told, type_: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, rule: str | None
) -> None:
    found = told(one(type_, before) if before is not None else {}, one(type_, after) if after is not None else {})
    assert found
    high = {name for name, severity in rules(found) if severity == "high"}
    assert high - {"data-loss"} == ({rule} if rule else set()) or rule in high


def test_a_broader_role_under_another_address_is_marked_as_broader(told: Told) -> None:
    found = told(
        {"google_project_iam_member": {"a-viewer": MEMBER}},
        {"google_project_iam_member": {"a-user": {**MEMBER, "role": "roles/storage.objectUser"}}},
    )
    assert [danger.says for change in found for danger in change.dangers] == [
        "serviceAccount:a@apx gets a broader role: roles/storage.objectViewer → roles/storage.objectUser."
    ]


def test_a_new_member_of_a_narrow_role_is_to_be_looked_at(told: Told) -> None:
    assert rules(told({}, one("google_project_iam_member", MEMBER))) == [("iam-widened", "medium")]


def test_prevent_destroy_that_stays_is_said_to_refuse(told: Told) -> None:
    kept = {**DATABASE, "lifecycle": {"prevent_destroy": True}}
    (found,) = told(one("google_firestore_database", kept), one("google_firestore_database", {**kept, "name": "x"}))
    assert found.dangers[0].says.endswith("`prevent_destroy` makes it refuse.")


# How it is told.


def reported(*found: Change) -> Report:
    return Report("base", "head", (EnvironmentChanges("dev", Presence.BOTH, found),))


def test_dangers_stand_before_the_tables(told: Told) -> None:
    said = markdown(reported(*told(one("google_firestore_database", DATABASE), {})))
    assert -1 < said.index("🔴 **DANGER**") < said.index("### data")


@pytest.mark.parametrize("value", ["a|b", "x\n| y", "<img src=x>", "@everybody", "`code`", "[a](http://b.c)"])
def test_nothing_in_a_value_means_anything_in_markdown(told: Told, value: str) -> None:
    bodies = [{"name": "t", "labels": {"a": label}} for label in ("plain", value)]
    said = markdown(reported(*told(one("google_pubsub_topic", bodies[0]), one("google_pubsub_topic", bodies[1]))))
    row = said.strip().splitlines()[-1]
    assert row.count("|") == said.strip().splitlines()[-2].count("|")
    assert not set("<>@`[") & set(row.replace("<code>", "").replace("</code>", ""))


def test_a_comment_is_never_longer_than_hosts_take() -> None:
    body = {"name": "t", "labels": {f"l{i}": "x" * 100 for i in range(12)}}
    many = {Address("data", Part.RESOURCE, "google_pubsub_topic", f"t{i}"): {**body, "i": i} for i in range(200)}
    assert len(markdown(reported(*changes(many, {}, "dev"))).encode()) <= MOST_BYTES


def test_long_values_are_shortened_to_where_they_differ(told: Told) -> None:
    bodies = [{"name": "d", "dashboard_json": "x" * 500 + end + "y" * 500} for end in ("one", "two")]
    (found,) = told(one("google_monitoring_dashboard", bodies[0]), one("google_monitoring_dashboard", bodies[1]))
    (attribute,) = found.attributes
    assert "one" in (attribute.before or "")
    assert "two" in (attribute.after or "")
    assert len(attribute.before or "") < 250


def test_the_same_change_of_two_environments_is_told_once(told: Told) -> None:
    found = told(one("google_pubsub_topic", {"name": "t"}), {})
    both = Report("a", "b", tuple(EnvironmentChanges(name, Presence.BOTH, found) for name in ("dev", "prod")))
    assert text(both).count("destroyed google_pubsub_topic.it (dev, prod)") == 1


def test_an_environment_on_one_side_is_told() -> None:
    said = text(Report("a", "b", (EnvironmentChanges("load", Presence.ADDED),)))
    assert "environment load is new" in said


# The command.


def test_no_difference_exits_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "report", lambda *_: reported())
    assert command.main(["HEAD"]) == 0
    assert capsys.readouterr().out == "The stacks do not differ in dev.\n"


def test_a_difference_exits_2_and_json_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], told: Told
) -> None:
    found = told(one("google_pubsub_topic", {"name": "t"}), {})
    monkeypatch.setattr(command, "report", lambda *_: reported(*found))
    assert command.main(["HEAD", "--json"]) == command.DIFFERS
    (environment,) = json.loads(capsys.readouterr().out)["environments"]
    assert environment["changes"][0]["dangers"][0]["rule"] == "data-loss"


def test_an_unknown_commit_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["no-such-commit"]) == 1
    assert "'no-such-commit' is no commit" in capsys.readouterr().err


def test_a_wrong_option_exits_1_and_not_as_a_difference() -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["HEAD", "--no-such-option"])
    assert stopped.value.code == 1


def test_an_unknown_environment_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["HEAD", "--environment", "moon"]) == 1
    assert "No environment 'moon'" in capsys.readouterr().err


def test_a_side_that_does_not_synthesise_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'stacks/environments/dev.yaml:1: no region' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sides, "PYTHON", python)
    with pytest.raises(Misconfigured, match=r"HEAD~1: dev does not synthesise:\n  .*no region"):
        sides.synthesise([sides.Side("HEAD~1", tmp_path)], ["dev"])


# What holds of every tree.

leaves = st.one_of(st.booleans(), st.integers(), st.text(max_size=5))
bodies = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xyz", min_size=1), inner, max_size=3),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)
resources = st.dictionaries(
    st.builds(
        lambda type_, name: Address("data", Part.RESOURCE, type_, name),
        st.sampled_from(["google_compute_firewall", "google_pubsub_topic", "google_storage_bucket", "google_unknown"]),
        st.text("abc", min_size=1, max_size=2),
    ),
    bodies,
    min_size=1,
    max_size=4,
)


@given(resources)
def test_a_tree_does_not_differ_from_itself(found: dict[Address, dict[str, Any]]) -> None:
    assert compare(found, json_copy(found)) == []


@given(resources, st.randoms(use_true_random=False))
def test_every_change_of_an_attribute_is_told(found: dict[Address, dict[str, Any]], lots: random.Random) -> None:
    after = json_copy(found)
    address = lots.choice(sorted(after))
    place: Any = after[address]
    path = []
    while isinstance(place, dict | list) and place:
        key = lots.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
        path.append(key)
        parent, place = place, place[key]
    parent[key] = "something that was never there"
    (told,) = compare(found, after)
    assert told.address == address
    assert told.differences[0].path[0] == path[0]


def json_copy(found: dict[Address, dict[str, Any]]) -> dict[Address, dict[str, Any]]:
    return {address: json.loads(json.dumps(body)) for address, body in found.items()}


# The whole of it, on commits of this repository.


@pytest.mark.timeout(300)
def test_a_commit_that_loses_the_database_widens_a_role_and_opens_the_firewall_has_all_three_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not sides.PYTHON.exists():
        pytest.fail("The stacks' environment is not here: run `./dev synth` once, which installs it.")
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--no-local", "--depth=1", f"file://{ROOT}", str(clone))
    edit(clone / "apx/backends/gcp/names.py", 'return f"apx-{region}"', 'return f"apx-{region}-documents"')
    edit(clone / "stacks/identity.py", '"monitor": ("roles/monitoring.viewer"', '"monitor": ("roles/monitoring.admin"')
    edit(clone / "stacks/network.py", "source_ranges=list(LOAD_BALANCERS)", 'source_ranges=["0.0.0.0/0"]')
    git("-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--all", "--message=x")
    monkeypatch.setattr(sides, "ROOT", clone)

    assert command.main(["HEAD~1", "HEAD", "--environment", "prod", "--json"]) == command.DIFFERS

    (environment,) = json.loads(capsys.readouterr().out)["environments"]
    marked = {
        (danger["rule"], change["type"])
        for change in environment["changes"]
        for danger in change["dangers"]
        if danger["severity"] == "high"
    }
    assert marked >= {
        ("data-loss", "google_firestore_database"),
        ("iam-widened", "google_project_iam_member"),
        ("network-opened", "google_compute_firewall"),
    }


def git(*arguments: str) -> None:
    subprocess.run(("git", *arguments), check=True)


def edit(path: Path, before: str, after: str) -> None:
    source = path.read_text()
    assert source.count(before) == 1, f"{path} no longer has {before!r} once"
    path.write_text(source.replace(before, after))
