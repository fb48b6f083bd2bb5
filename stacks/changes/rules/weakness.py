"""What is weak in a cluster, a pod or a policy: told where it was not so before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stacks.changes.model import Danger, Delta, at
from stacks.changes.rules.saying import high

_LEVELS = ("privileged", "baseline", "restricted")
_ENFORCE = "pod-security.kubernetes.io/enforce"


def clusters(delta: Delta) -> Iterator[Danger]:
    """Find a control plane that answers to more, and nodes that do."""
    if delta.type == "google_container_cluster":
        yield from _new("cluster-weakened", delta, _of_cluster)
    if delta.type == "google_container_node_pool":
        yield from _new("cluster-weakened", delta, _of_nodes)


def pods(delta: Delta) -> Iterator[Danger]:
    """Find pods that may do more on their node."""
    if delta.type in ("kubernetes_deployment_v1", "kubernetes_namespace_v1"):
        yield from _new("pod-security-weakened", delta, _of_workload)


def attestation(delta: Delta) -> Iterator[Danger]:
    """Find images that run without anybody having signed them."""
    if delta.type == "google_binary_authorization_policy" and delta.before is not None:
        yield from _new("attestation-weakened", delta, _of_attestation)


def _new(rule: str, delta: Delta, weak: Any) -> Iterator[Danger]:
    before = set(weak(delta.before)) if delta.before is not None else set()
    after = weak(delta.after) if delta.after is not None else ()
    yield from (high(rule, says) for says in dict.fromkeys(after) if says not in before)


def _blocks(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Mapping)]


def _of_cluster(body: Mapping[str, Any]) -> Iterator[str]:
    if at(body, "control_plane_endpoints_config", "ip_endpoints_config", "enabled") is not False:
        yield "The control plane has an address that answers."
    if at(body, "control_plane_endpoints_config", "dns_endpoint_config", "allow_external_traffic") is True:
        yield "The control plane answers from outside Google's network."
    for block in _blocks(at(body, "master_authorized_networks_config", "cidr_blocks")):
        yield f"The control plane answers to {block.get('cidr_block')}."
    if at(body, "private_cluster_config", "enable_private_nodes") is not True:
        yield "Nodes have addresses of their own on the internet."
    if at(body, "enable_legacy_abac") is True:
        yield "Rights are given by ABAC, beside RBAC."
    if at(body, "binary_authorization", "evaluation_mode") in (None, "DISABLED"):
        yield "Images run that nobody signed."
    if at(body, "workload_identity_config", "workload_pool") is None:
        yield "Pods have no identity of their own: they act as their node."
    if at(body, "security_posture_config", "mode") in (None, "DISABLED"):
        yield "Nobody looks for what is insecure in the cluster."


def _of_nodes(body: Mapping[str, Any]) -> Iterator[str]:
    if at(body, "node_config", "workload_metadata_config", "mode") != "GKE_METADATA":
        yield "Pods may act as their node."
    if at(body, "node_config", "shielded_instance_config", "enable_secure_boot") is not True:
        yield "Nodes start whatever is on their disks."


def _of_attestation(body: Mapping[str, Any]) -> Iterator[str]:
    rules = [body.get("default_admission_rule"), *_blocks(body.get("cluster_admission_rules"))]
    for rule in _blocks(rules):
        if rule.get("evaluation_mode") == "ALWAYS_ALLOW":
            yield "Every image may run."
        if rule.get("enforcement_mode") != "ENFORCED_BLOCK_AND_AUDIT_LOG":
            yield "What nobody signed is only written down, and runs."
    if body.get("admission_whitelist_patterns"):
        yield f"Images may run unsigned: {_blocks(body['admission_whitelist_patterns'])}."


def _of_workload(body: Mapping[str, Any]) -> Iterator[str]:
    labels = at(body, "metadata", "labels") or {}
    if "spec" not in body:
        level = labels.get(_ENFORCE, "privileged")
        if level != _LEVELS[-1]:
            yield f"The namespace lets in pods that are not restricted: {level}."
        return
    spec = at(body, "spec", "template", "spec") or {}
    yield from _of_pod(spec)
    for container in [*_blocks(spec.get("container")), *_blocks(spec.get("init_container"))]:
        yield from _of_container(container, at(spec, "security_context") or {})


def _of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    for name in ("host_network", "host_pid", "host_ipc"):
        if spec.get(name) is True:
            yield f"Pods share their node's {name.removeprefix('host_')}."
    for volume in _blocks(spec.get("volume")):
        if volume.get("host_path"):
            yield f"Pods see a folder of their node: {at(volume, 'host_path', 'path')}."
    if spec.get("automount_service_account_token") is not False:
        yield "Pods are given a token of the cluster."


def _of_container(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    own, name = at(container, "security_context") or {}, container.get("name")
    if own.get("privileged") is True:
        yield f"{name} is privileged."
    if own.get("allow_privilege_escalation") is not False:
        yield f"{name} may get more rights than it was started with."
    if own.get("read_only_root_filesystem") is not True:
        yield f"{name} may write to its image."
    if {**pod, **own}.get("run_as_non_root") is not True or str({**pod, **own}.get("run_as_user", "")) == "0":
        yield f"{name} may run as root."
    if at({**pod, **own}, "seccomp_profile", "type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name} may call whatever the kernel offers."
    if "ALL" not in (at(own, "capabilities", "drop") or ()):
        yield f"{name} keeps capabilities."
    for capability in at(own, "capabilities", "add") or ():
        yield f"{name} gets the capability {capability}."
