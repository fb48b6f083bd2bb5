"""What must hold of every pod, whatever is added to the workloads."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from apx.backends.gcp import names
from services.edge.settings import EdgeSettings
from services.router.settings import RouterSettings
from tests.stacks.plans import ROOT, Plan
from tests.stacks.pods import (
    SETTINGS,
    address,
    before_end_s,
    containers,
    labels_of,
    manifests,
    mib,
    module_of,
    pod_labels,
    pods,
    question,
    settings_of,
    user_of_the_image,
    variables,
)

PROBES = ("startup_probe", "readiness_probe", "liveness_probe")


def test_every_process_runs_in_every_region(plan: Plan) -> None:
    regions = {one.stack for one in plan.resources("kubernetes_namespace_v1")}
    running = {(one.stack, module_of(container)) for one, container in containers(plan)}
    assert running == {(region, module) for region in regions for module in SETTINGS}


def test_no_container_may_do_more_than_it_needs(plan: Plan) -> None:
    least = {
        "allow_privilege_escalation": False,
        "privileged": False,
        "read_only_root_filesystem": True,
        "run_as_non_root": True,
        "run_as_user": user_of_the_image(),
        "capabilities": {"drop": ["ALL"]},
        "seccomp_profile": {"type": "RuntimeDefault"},
    }
    assert [address(*one) for one in containers(plan) if one[1]["security_context"] != least] == []


def test_no_pod_is_root_knows_kubernetes_or_sees_its_node(plan: Plan) -> None:
    for one, pod in pods(plan):
        assert pod["automount_service_account_token"] is False, one.address
        assert pod["security_context"]["run_as_non_root"] is True, one.address
        assert pod["security_context"]["seccomp_profile"] == {"type": "RuntimeDefault"}, one.address
        assert {kind for volume in pod["volume"] for kind in volume} <= {"name", "empty_dir", "csi", "config_map"}
        assert pod.keys().isdisjoint({"host_network", "host_pid", "host_ipc"}), one.address


def test_every_container_is_bounded(plan: Plan) -> None:
    for one, container in containers(plan):
        limits, requests = container["resources"]["limits"], container["resources"]["requests"]
        assert limits.keys() == requests.keys() == {"cpu", "memory", "ephemeral-storage"}, address(one, container)


def test_every_volume_that_can_be_written_is_bounded_and_fits_the_pods_disk(plan: Plan) -> None:
    for one, pod in pods(plan):
        sizes = [mib(volume["empty_dir"]["size_limit"]) for volume in pod["volume"] if "empty_dir" in volume]
        assert sum(sizes) <= sum(mib(c["resources"]["limits"]["ephemeral-storage"]) for c in pod["container"]), one


def test_every_container_that_keeps_files_has_a_home_and_a_tmp_to_write(plan: Plan) -> None:
    for one, container in containers(plan):
        written = {mount["mount_path"] for mount in container["volume_mount"] if not mount.get("read_only")}
        home = variables(container)["APX_HOME"]
        wanted = {f"{home}/run", f"{home}/edge"} if container["name"] == "envoy" else {home}
        assert wanted | {"/tmp"} <= written, address(one, container)  # noqa: S108 -- a volume of its own


def test_every_container_is_asked_on_its_own_port(plan: Plan) -> None:
    for one, container in containers(plan):
        (port,) = container["port"]
        asked = [question(container[probe]) for probe in PROBES]
        assert {number for number, _ in asked} == {str(port["container_port"])}, address(one, container)
        assert asked[1][1] == "/readyz", address(one, container)


def test_every_variable_is_a_setting_of_its_process_and_loads(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, container in containers(plan):
        kind = SETTINGS[module_of(container)]
        assert variables(container).keys() <= {f"APX_{name.upper()}" for name in kind.model_fields}, address(
            one, container
        )
        settings = settings_of(container, monkeypatch)
        ports = {getattr(settings, name) for name in kind.model_fields if name.endswith("_port")}
        assert container["port"][0]["container_port"] in ports, address(one, container)


def test_whoever_can_be_asked_from_outside_does_not_listen_on_loopback_alone(plan: Plan) -> None:
    for one, container in containers(plan):
        bound = {name: value for name, value in variables(container).items() if name.endswith(("_HOST", "_BIND"))}
        assert bound, address(one, container)
        assert set(bound.values()) == {"0.0.0.0"}, address(one, container)  # noqa: S104 -- a pod's own address


def test_pods_read_their_own_regions_data(plan: Plan) -> None:
    for one, container in containers(plan):
        region = one.stack.removeprefix("workloads-")
        said = variables(container)
        if "APX_BACKENDS" in said:
            assert said["APX_BACKENDS"] == "gcp"
            assert said["APX_GCP_REGION"] == region
            assert said["APX_VALKEY_URL"].startswith("rediss://")


def test_envoy_holds_no_secret_and_knows_no_store(plan: Plan) -> None:
    for one, container in containers(plan):
        if container["name"] == "envoy":
            assert not [name for name in variables(container) if "GCP" in name or "VALKEY" in name], one.address
            assert {mount["name"] for mount in container["volume_mount"]} == {"sockets", "edge-files", "envoy-tmp"}


def test_envoy_and_what_renders_its_files_have_the_same_settings(plan: Plan) -> None:
    for one, pod in pods(plan):
        said = {container["name"]: variables(container) for container in pod["container"]}
        if "envoy" in said:
            assert said["envoy"].items() <= said["edge-config"].items(), one.address


def test_nobody_closes_a_connection_that_the_load_balancer_keeps(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, container in containers(plan):
        for name in ("edge_idle_timeout_s", "control_idle_timeout_s"):
            keeps_s = getattr(settings_of(container, monkeypatch), name, 601)
            assert keeps_s > 600, address(one, container)


def test_a_pod_has_time_to_end(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, pod in pods(plan):
        for container in pod["container"]:
            drain_s = getattr(settings_of(container, monkeypatch), "drain_s", 0)
            needed = before_end_s(container, monkeypatch) + drain_s
            assert pod["termination_grace_period_seconds"] > needed, address(one, container)


def test_the_router_is_there_until_envoy_has_drained(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for one, pod in pods(plan):
        ends = {container["name"]: before_end_s(container, monkeypatch) for container in pod["container"]}
        if "envoy" in ends:
            assert ends["envoy"] < min(ends["router"], ends["edge-config"]), one.address


def test_nobody_who_waits_for_a_result_is_cut_off_by_a_drain(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, pod in pods(plan):
        loaded = [settings_of(container, monkeypatch) for container in pod["container"]]
        waits = [one.max_wait_s for one in loaded if isinstance(one, RouterSettings)]
        drains = [one.edge_drain_s for one in loaded if isinstance(one, EdgeSettings)]
        assert not waits or min(drains) >= max(waits)


def test_every_deployment_has_a_budget_a_policy_and_is_spread(plan: Plan) -> None:
    for kind in ("kubernetes_pod_disruption_budget_v1", "kubernetes_network_policy_v1"):
        selected = [(one.stack, labels_of(one.body["spec"])) for one in plan.resources(kind)]
        missing = [one.address for one, _ in pods(plan) if (one.stack, pod_labels(one)) not in selected]
        assert missing == [], kind
    for one, pod in pods(plan):
        spread = {constraint["topology_key"] for constraint in pod["topology_spread_constraint"]}
        assert "topology.kubernetes.io/zone" in spread, one.address


def test_every_deployment_but_the_monitors_is_scaled_within_the_environments_bounds(plan: Plan) -> None:
    document = yaml.safe_load((ROOT / "stacks" / "environments" / f"{plan.environment}.yaml").read_text())
    bounds = document.get("workloads", {})
    scaled = plan.resources("kubernetes_horizontal_pod_autoscaler_v2")
    assert {one.body["metadata"]["name"] for one in scaled} == {"edge", "worker", "control"}
    for one in scaled:
        spec, wanted = one.body["spec"], bounds.get(one.body["metadata"]["name"], {})
        assert spec["min_replicas"] == wanted.get("least", spec["min_replicas"])
        assert spec["max_replicas"] == wanted.get("most", spec["max_replicas"])
        assert spec["min_replicas"] <= spec["max_replicas"]


def test_autoscalers_measure_containers_that_are_there(plan: Plan) -> None:
    there = {(one.stack, one.body["metadata"]["name"], c["name"]) for one, c in containers(plan)}
    for one in plan.resources("kubernetes_horizontal_pod_autoscaler_v2"):
        resources = [metric["container_resource"] for metric in one.body["spec"]["metric"] if "external" not in metric]
        named = {(one.stack, one.body["metadata"]["name"], resource["container"]) for resource in resources}
        assert named, one.address
        assert named <= there, one.address


def test_secrets_are_mounted_from_secret_manager_only_where_they_are_read(plan: Plan) -> None:
    read = {
        "edge": {"receipts", "arms"},
        "worker": {"webhooks"},
        "control": {"receipts", "admin-token", "control-tokens", "webhooks"},
    }
    assert not [one for one in plan.resources() if one.type.startswith("kubernetes_secret")]
    for mounted in manifests(plan, "SecretProviderClass"):
        listed = yaml.safe_load(mounted["spec"]["parameters"]["secrets"])
        assert {secret["path"] for secret in listed} == read[mounted["metadata"]["name"]]
        assert {secret["path"] for secret in listed} <= set(names.SECRETS)
        assert all(f"/secrets/{names.secret(secret['path'])}/versions/" in secret["resourceName"] for secret in listed)
    for one, pod in pods(plan):
        csi = [volume["csi"]["volume_attributes"] for volume in pod["volume"] if "csi" in volume]
        assert {attributes["secretProviderClass"] for attributes in csi} == {one.body["metadata"]["name"]} & read.keys()


def test_every_google_account_of_a_pod_has_its_kubernetes_account(plan: Plan) -> None:
    bound = {
        one.name.removeprefix("pods-")
        for one in plan.resources("google_service_account_iam_member")
        if one.name.startswith("pods-")
    }
    for region in {one.stack for one in plan.resources("kubernetes_namespace_v1")}:
        made = {
            one.body["metadata"]["name"]
            for one in plan.resources("kubernetes_service_account_v1")
            if one.stack == region
        }
        used = {pod["service_account_name"] for one, pod in pods(plan) if one.stack == region}
        assert made == used == bound


@pytest.mark.parametrize(
    ("image", "taken"),
    [
        (f"us-docker.pkg.dev/apx-prod-000000/apx/apx@sha256:{'0' * 64}", True),
        ("us-docker.pkg.dev/apx-prod-000000/apx/apx:latest", False),
        (f"us-docker.pkg.dev/apx-prod-000000/apx/apx:1@sha256:{'0' * 64}", False),
        (f"us-docker.pkg.dev/apx-prod-000000/apx/apx@sha256:{'0' * 63}", False),
    ],
)
def test_an_image_is_named_by_its_digest(prod: Plan, image: str, taken: bool) -> None:  # noqa: FBT001 -- the expected answer
    variable = prod.stacks["workloads-us-central1"]["variable"]["image"]
    (found,) = re.findall(r'can\(regex\((".*"), var\.image\)\)', variable["validation"][0]["condition"])
    assert bool(re.search(json.loads(found), image)) is taken


def test_every_container_has_the_one_image(plan: Plan) -> None:
    assert {container["image"] for _, container in containers(plan)} == {"${var.image}"}
