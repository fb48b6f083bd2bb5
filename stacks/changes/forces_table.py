"""The rows of `forces.py`: by type its source, what forces replacement, what is changed in place."""

from __future__ import annotations

from collections.abc import Mapping

from stacks.changes.forces_google import GOOGLE

_MEMBER = "google/tpgiamresource/resource_iam_member.go"
_METADATA = "metadata.name metadata.namespace metadata.generate_name"
_IN_METADATA = "metadata.labels metadata.annotations"
_KUBERNETES: Mapping[str, tuple[str, str]] = {
    "config_map_v1": ("", "data binary_data"),
    "deployment_v1": ("spec.selector", "spec wait_for_rollout"),
    "horizontal_pod_autoscaler_v2": ("", "spec"),
    "namespace_v1": ("", ""),
    "network_policy_v1": ("", "spec"),
    "pod_disruption_budget_v1": ("spec", ""),
    "service_account_v1": ("", "automount_service_account_token image_pull_secret secret"),
    "service_v1": (
        "spec.cluster_ip spec.health_check_node_port spec.load_balancer_class",
        (
            "spec.port spec.selector spec.type spec.session_affinity spec.external_traffic_policy"
            " spec.load_balancer_source_ranges spec.publish_not_ready_addresses"
        ),
    ),
}
_MEMBERS = (
    *("artifact_registry_repository", "bigquery_dataset", "bigquery_table", "iap_web_backend_service"),
    *(
        "kms_crypto_key",
        "project",
        "pubsub_subscription",
        "pubsub_topic",
        "secret_manager_secret",
        "service_account",
        "storage_bucket",
    ),
)
ROWS: Mapping[str, tuple[str, str, str]] = {
    **{
        f"google_{name}": (source if source.startswith("google/") else f"google/services/{source}", forced, in_place)
        for name, (source, forced, in_place) in GOOGLE.items()
    },
    # A member of a role is granted or not: there is nothing to change in place.
    **{f"google_{name}_iam_member": (_MEMBER, "*", "") for name in _MEMBERS},
    **{
        f"kubernetes_{name}": (
            f"kubernetes/resource_kubernetes_{name}.go",
            f"{_METADATA} {forced}",
            f"{_IN_METADATA} {in_place}",
        )
        for name, (forced, in_place) in _KUBERNETES.items()
    },
    "kubernetes_manifest": (
        "manifest/provider/plan.go",
        "manifest.apiVersion manifest.kind manifest.metadata.name manifest.metadata.namespace",
        "manifest wait field_manager",
    ),
}
"""Type to (source, what forces replacement, what is changed in place), paths parted by spaces."""
