"""What must hold of every cluster, in both modes, with the control plane reached by name and by address."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.stacks.plans import Body, Changes, Plan, Resource, synthesise

REFUSED_IN_AUTOPILOT = {
    *("default_max_pods_per_node", "enable_intranode_visibility", "enable_shielded_nodes", "network_policy"),
    *("node_config", "node_pool", "remove_default_node_pool"),
}
"""What the provider says conflicts with `enable_autopilot`, and `node_config`, which it takes and GKE ignores."""
OFFICE = "203.0.113.0/24"
STANDARD: Changes = {
    "cluster": {
        "mode": "standard",
        "most_nodes_per_zone": 5,
        "maintenance_hour_utc": 0,
        "operators_cidr": [OFFICE],
    },
    "data": {"delete_protection": False},
}


@pytest.fixture(scope="session")
def autopilot(planned: Callable[[str, int], Plan]) -> Plan:
    return planned("prod", 3)


@pytest.fixture(scope="session")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return synthesise("prod", 1, tmp_path_factory.mktemp("standard"), STANDARD)


@pytest.fixture(params=["autopilot", "standard"])
def either(request: pytest.FixtureRequest) -> Plan:
    plan: Plan = request.getfixturevalue(request.param)
    return plan


def clusters(plan: Plan) -> list[Resource]:
    return plan.resources("google_container_cluster")


def pool(plan: Plan) -> Body:
    return plan.resource("cluster-us-central1", "google_container_node_pool", "nodes")


def data_key(one: Resource) -> str:
    region = one.stack.removeprefix("cluster-")
    outputs = "${data.terraform_remote_state.cross-stack-reference-input-prod-encryption.outputs."
    return f"{outputs}cross-stack-output-google_kms_crypto_keydata-{region}id}}"


def test_each_region_has_a_cluster_in_its_zones(autopilot: Plan) -> None:
    zones = {one.body["location"]: one.body["node_locations"] for one in clusters(autopilot)}
    assert zones == {
        "us-central1": ["us-central1-a", "us-central1-b", "us-central1-c"],
        "europe-west1": ["europe-west1-b", "europe-west1-c", "europe-west1-d"],
        "us-east4": ["us-east4-a", "us-east4-b", "us-east4-c"],
    }


def test_nodes_have_no_address_of_their_own(either: Plan) -> None:
    assert all(one.body["private_cluster_config"]["enable_private_nodes"] for one in clusters(either))


def test_without_operators_no_address_reaches_the_control_plane(autopilot: Plan) -> None:
    for one in clusters(autopilot):
        assert one.body["control_plane_endpoints_config"]["ip_endpoints_config"] == {"enabled": False}
        assert "master_authorized_networks_config" not in one.body


def test_only_operators_reach_the_control_plane_by_address(standard: Plan) -> None:
    (one,) = clusters(standard)
    assert one.body["control_plane_endpoints_config"]["ip_endpoints_config"] == {"enabled": True}
    assert one.body["master_authorized_networks_config"] == {
        "cidr_blocks": [{"cidr_block": OFFICE}],
        "gcp_public_cidrs_access_enabled": False,
    }


def test_secrets_are_encrypted_with_the_region_s_key(either: Plan) -> None:
    for one in clusters(either):
        assert one.body["database_encryption"] == {"state": "ENCRYPTED", "key_name": data_key(one)}


def test_backups_are_encrypted_with_the_region_s_key(either: Plan) -> None:
    plans = either.resources("google_gke_backup_backup_plan")
    keys = [one.body["backup_config"]["encryption_key"]["gcp_kms_encryption_key"] for one in plans]
    assert keys == [data_key(one) for one in clusters(either)]


def test_nodes_disks_are_encrypted_with_the_region_s_key(autopilot: Plan, standard: Plan) -> None:
    for one in clusters(autopilot):
        assert node_defaults(one)["boot_disk_kms_key"] == data_key(one)
    (one,) = clusters(standard)
    assert one.body["node_config"]["boot_disk_kms_key"] == data_key(one)
    assert pool(standard)["node_config"]["boot_disk_kms_key"] == data_key(one)


def test_nodes_run_as_their_own_account(autopilot: Plan, standard: Plan) -> None:
    (kept,) = clusters(standard)
    nodes = [*map(node_defaults, clusters(autopilot)), kept.body["node_config"], pool(standard)["node_config"]]
    assert {node["service_account"].rpartition("account-")[2] for node in nodes} == {"nodesemail}"}


def node_defaults(one: Resource) -> Body:
    defaults: Body = one.body["cluster_autoscaling"]["auto_provisioning_defaults"]
    return defaults


def test_pods_are_who_they_are_and_run_what_is_attested(either: Plan) -> None:
    for one in clusters(either):
        assert one.body["workload_identity_config"] == {"workload_pool": "apx-prod-000000.svc.id.goog"}
        assert one.body["binary_authorization"] == {"evaluation_mode": "PROJECT_SINGLETON_POLICY_ENFORCE"}


def test_google_upgrades_clusters_by_a_channel_in_a_window(either: Plan) -> None:
    for one in clusters(either):
        assert one.body["release_channel"]["channel"] == "STABLE"
        assert one.body["maintenance_policy"]["recurring_window"]["recurrence"] == "FREQ=WEEKLY;BYDAY=TU,WE,TH"


def test_the_backup_is_made_the_hour_before_the_window_over_midnight_too(standard: Plan) -> None:
    plan = standard.resource("cluster-us-central1", "google_gke_backup_backup_plan", "backups")
    assert plan["backup_schedule"] == {"cron_schedule": "0 23 * * *"}


def test_pods_reach_each_other_by_dataplane_v2_and_the_subnet_s_named_ranges(either: Plan) -> None:
    for one in clusters(either):
        assert one.body["datapath_provider"] == "ADVANCED_DATAPATH"
        assert one.body["ip_allocation_policy"]["cluster_secondary_range_name"] == "pods"
        assert one.body["ip_allocation_policy"]["services_secondary_range_name"] == "services"


def test_nobody_comes_in_by_certificate_or_attribute(either: Plan) -> None:
    for one in clusters(either):
        assert one.body["master_auth"] == {"client_certificate_config": {"issue_client_certificate": False}}
        assert one.body["enable_legacy_abac"] is False


def test_a_cluster_is_deleted_only_where_the_environment_lets_it(autopilot: Plan, standard: Plan) -> None:
    assert {one.body["deletion_protection"] for one in clusters(autopilot)} == {True}
    assert {one.body["deletion_protection"] for one in clusters(standard)} == {False}


def test_autopilot_is_told_nothing_that_the_provider_refuses_beside_it(autopilot: Plan) -> None:
    for one in clusters(autopilot):
        assert REFUSED_IN_AUTOPILOT & set(one.body) == set()
    assert autopilot.resources("google_container_node_pool") == []


def test_standard_does_not_speak_of_autopilot(standard: Plan) -> None:
    (one,) = clusters(standard)
    assert "enable_autopilot" not in one.body
    assert one.body["remove_default_node_pool"] is True
    assert one.body["enable_shielded_nodes"] is True
    assert one.body["enable_intranode_visibility"] is True


def test_a_pool_grows_to_the_most_nodes_and_keeps_itself(standard: Plan) -> None:
    nodes = pool(standard)
    assert nodes["autoscaling"]["max_node_count"] == 5
    assert nodes["management"] == {"auto_repair": True, "auto_upgrade": True}
    assert nodes["upgrade_settings"] == {"strategy": "SURGE", "max_surge": 1, "max_unavailable": 0}


def test_a_node_boots_only_what_is_signed_and_hides_its_account_from_pods(standard: Plan) -> None:
    node = pool(standard)["node_config"]
    assert node["image_type"] == "COS_CONTAINERD"
    assert node["shielded_instance_config"] == {"enable_secure_boot": True, "enable_integrity_monitoring": True}
    assert node["workload_metadata_config"] == {"mode": "GKE_METADATA"}


def test_every_environment_blocks_what_is_not_attested(plan: Plan) -> None:
    (policy,) = plan.resources("google_binary_authorization_policy")
    rule = policy.body["default_admission_rule"]
    assert rule["enforcement_mode"] == "ENFORCED_BLOCK_AND_AUDIT_LOG"
    assert rule["require_attestations_by"]
    assert "admission_whitelist_patterns" not in policy.body
