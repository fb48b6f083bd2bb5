"""Pods as Kubernetes deployments: what is the same for all of them, above all how little each may do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cdktf_cdktf_provider_kubernetes.deployment_v1 as k8s
from cdktf import ITerraformDependable, TerraformResourceLifecycle
from cdktf_cdktf_provider_kubernetes.pod_disruption_budget_v1 import (
    PodDisruptionBudgetV1,
    PodDisruptionBudgetV1Metadata,
    PodDisruptionBudgetV1Spec,
    PodDisruptionBudgetV1SpecSelector,
)

from stacks.namespace import NamespaceStack
from stacks.pods import HOME, Pod, Probe, Process
from stacks.stack import suppress

USER = 10_001
"""The image's (`services/Dockerfile`)."""
KEYS, SECRETS_DRIVER = "keys", "secrets-store-gke.csi.k8s.io"
VALKEY_CA, VALKEY_CA_FILE = "valkey-ca", "ca.pem"
CA_FOLDER = "/etc/apx/valkey"
ZONE, NODE = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
STARTS_WITHIN_S = 300
"""A router compiles the policies of every product before it answers; thousands take minutes."""
SET_BY_OTHERS = (
    "spec[0].replicas",  # by the autoscaler
    "spec[0].template[0].spec[0].toleration",  # by Autopilot, for the machines that it chose
)


def deployment(
    stack: NamespaceStack, pod: Pod, image: str, *, after: Sequence[ITerraformDependable]
) -> k8s.DeploymentV1:
    """Run a pod's replicas, and keep all but one of them whenever a node is to go."""
    PodDisruptionBudgetV1(
        stack,
        f"budget-{pod.name}",
        metadata=PodDisruptionBudgetV1Metadata(name=pod.name, namespace=stack.namespace),
        spec=PodDisruptionBudgetV1Spec(
            max_unavailable="1", selector=PodDisruptionBudgetV1SpecSelector(match_labels=pod.labels)
        ),
    )
    made = k8s.DeploymentV1(
        stack,
        f"deployment-{pod.name}",
        metadata=k8s.DeploymentV1Metadata(name=pod.name, namespace=stack.namespace, labels=pod.labels),
        spec=k8s.DeploymentV1Spec(
            replicas=str(pod.replicas) if pod.replicas else None,
            selector=k8s.DeploymentV1SpecSelector(match_labels=pod.labels),
            strategy=k8s.DeploymentV1SpecStrategy(
                type="RollingUpdate",
                rolling_update=k8s.DeploymentV1SpecStrategyRollingUpdate(max_surge="25%", max_unavailable="0"),
            ),
            template=k8s.DeploymentV1SpecTemplate(
                metadata=k8s.DeploymentV1SpecTemplateMetadata(labels=pod.labels), spec=_spec(pod, image)
            ),
        ),
        depends_on=list(after),
        wait_for_rollout=not pod.waits_for_release,
        lifecycle=TerraformResourceLifecycle(ignore_changes=list(SET_BY_OTHERS[1 if pod.replicas else 0 :])),
    )
    for check in ("CKV_K8S_14", "CKV_K8S_15", "CKV_K8S_43"):
        suppress(made, check, "The variable `image` takes nothing but a digest, which checkov does not see.")
    return made


def _spec(pod: Pod, image: str) -> k8s.DeploymentV1SpecTemplateSpec:
    return k8s.DeploymentV1SpecTemplateSpec(
        service_account_name=pod.account,
        # Google's APIs are reached as the Google account, by the metadata server; nothing here calls Kubernetes.
        automount_service_account_token=False,
        enable_service_links=False,  # nobody finds another by these variables
        termination_grace_period_seconds=pod.grace_s,
        security_context=k8s.DeploymentV1SpecTemplateSpecSecurityContext(
            run_as_non_root=True,
            run_as_user=str(USER),
            run_as_group=str(USER),
            fs_group=str(USER),
            seccomp_profile=k8s.DeploymentV1SpecTemplateSpecSecurityContextSeccompProfile(type="RuntimeDefault"),
        ),
        topology_spread_constraint=[_spread(pod, ZONE), _spread(pod, NODE)],
        container=[_container(process, image) for process in pod.processes],
        volume=list(_volumes(pod)),
    )


def _spread(pod: Pod, over: str) -> k8s.DeploymentV1SpecTemplateSpecTopologySpreadConstraint:
    """Spread as evenly as may be: a zone that is out must not keep pods from the others."""
    return k8s.DeploymentV1SpecTemplateSpecTopologySpreadConstraint(
        max_skew=1,
        topology_key=over,
        when_unsatisfiable="ScheduleAnyway",
        label_selector=[k8s.DeploymentV1SpecTemplateSpecTopologySpreadConstraintLabelSelector(match_labels=pod.labels)],
    )


def _container(process: Process, image: str) -> k8s.DeploymentV1SpecTemplateSpecContainer:
    size = {
        "cpu": f"{process.size.cpu_m}m",
        "memory": f"{process.size.memory_mib}Mi",
        "ephemeral-storage": f"{process.disk_mib}Mi",
    }
    return k8s.DeploymentV1SpecTemplateSpecContainer(
        name=process.name,
        image=image,
        command=["python", "-m", process.module],
        env=[
            k8s.DeploymentV1SpecTemplateSpecContainerEnv(name=name, value=value)
            for name, value in process.variables.items()
        ],
        port=[k8s.DeploymentV1SpecTemplateSpecContainerPort(name=process.port_name, container_port=process.port)],
        resources=k8s.DeploymentV1SpecTemplateSpecContainerResources(requests=size, limits=size),
        security_context=_least(),
        volume_mount=list(_mounts(process)),
        **_probes(process),
        **_before_end(process),
    )


def _least() -> k8s.DeploymentV1SpecTemplateSpecContainerSecurityContext:
    return k8s.DeploymentV1SpecTemplateSpecContainerSecurityContext(
        allow_privilege_escalation=False,
        privileged=False,
        read_only_root_filesystem=True,
        run_as_non_root=True,
        run_as_user=str(USER),
        capabilities=k8s.DeploymentV1SpecTemplateSpecContainerSecurityContextCapabilities(drop=["ALL"]),
        seccomp_profile=k8s.DeploymentV1SpecTemplateSpecContainerSecurityContextSeccompProfile(type="RuntimeDefault"),
    )


def _probes(process: Process) -> dict[str, Any]:
    """Return the three probes: not killed while it starts, no requests while it is not ready, killed when it hangs."""
    started = {"period_seconds": 2, "failure_threshold": STARTS_WITHIN_S // 2}
    return {
        "startup_probe": _probe("Startup", process, process.started, **started),
        "readiness_probe": _probe("Readiness", process, process.ready, period_seconds=5, failure_threshold=2),
        "liveness_probe": _probe("Liveness", process, process.alive, period_seconds=10, failure_threshold=3),
    }


def _probe(kind: str, process: Process, probe: Probe, **times: int) -> Any:
    base = f"DeploymentV1SpecTemplateSpecContainer{kind}Probe"
    port = str(process.port)
    if probe.path:
        asked = {"http_get": getattr(k8s, f"{base}HttpGet")(path=probe.path, port=port)}
    else:
        asked = {"tcp_socket": [getattr(k8s, f"{base}TcpSocket")(port=port)]}
    return getattr(k8s, base)(timeout_seconds=3, **asked, **times)


def _before_end(process: Process) -> dict[str, Any]:
    if not process.before_end:
        return {}
    hook = k8s.DeploymentV1SpecTemplateSpecContainerLifecyclePreStopExec(command=list(process.before_end))
    stop = k8s.DeploymentV1SpecTemplateSpecContainerLifecyclePreStop(exec=hook)
    return {"lifecycle": k8s.DeploymentV1SpecTemplateSpecContainerLifecycle(pre_stop=[stop])}


def _mounts(process: Process) -> Iterator[k8s.DeploymentV1SpecTemplateSpecContainerVolumeMount]:
    mount = k8s.DeploymentV1SpecTemplateSpecContainerVolumeMount
    for one in process.mounts:
        yield mount(name=one.volume, mount_path=one.path)
    if process.secrets:
        yield mount(name=KEYS, mount_path=f"{HOME}/keys", read_only=True)
    if process.store:
        yield mount(name=VALKEY_CA, mount_path=CA_FOLDER, read_only=True)


def _volumes(pod: Pod) -> Iterator[k8s.DeploymentV1SpecTemplateSpecVolume]:
    volume = k8s.DeploymentV1SpecTemplateSpecVolume
    for name, size_mib in pod.volumes.items():
        empty = k8s.DeploymentV1SpecTemplateSpecVolumeEmptyDir(size_limit=f"{size_mib}Mi")
        yield volume(name=name, empty_dir=empty)
    if pod.secrets:
        attributes = {"secretProviderClass": pod.name}
        csi = k8s.DeploymentV1SpecTemplateSpecVolumeCsi(
            driver=SECRETS_DRIVER, read_only=True, volume_attributes=attributes
        )
        yield volume(name=KEYS, csi=csi)
    yield volume(name=VALKEY_CA, config_map=k8s.DeploymentV1SpecTemplateSpecVolumeConfigMap(name=VALKEY_CA))
