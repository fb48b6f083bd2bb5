"""Where Terraform keeps sets: the order of such lists means nothing.

Read out of the provider packages that the lock pins (cdktf-cdktf-provider-google 16.12.1, provider 6.50.0;
cdktf-cdktf-provider-kubernetes 12.1.1, provider 2.38.0): `type: "set"` in `synthesizeHclAttributes` and in the
`…ToHclTerraform` functions of `lib/<resource>/index.js`, for the types that the stacks use. A set that is missing
here is compared as a list: a change of order is then told, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

from stacks.changes.model import unindexed

EVERYWHERE = frozenset({"depends_on", "lifecycle.ignore_changes", "lifecycle.replace_triggered_by"})
KUBERNETES = frozenset({"match_expressions.values", "match_fields.values"})
"""Sets by how their paths end, in every label selector of the Kubernetes provider."""
SETS: Mapping[str, frozenset[str]] = {
    name: frozenset(paths.split())
    for name, paths in {
        "google_artifact_registry_repository": "cleanup_policies",
        "google_bigquery_dataset": "access",
        "google_binary_authorization_policy": (
            "cluster_admission_rules cluster_admission_rules.require_attestations_by"
            " default_admission_rule.require_attestations_by"
        ),
        "google_compute_backend_service": (
            "backend custom_request_headers custom_response_headers health_checks"
            " cdn_policy.cache_key_policy.query_string_blacklist cdn_policy.cache_key_policy.query_string_whitelist"
        ),
        "google_compute_firewall": (
            "allow deny destination_ranges source_ranges source_service_accounts source_tags target_service_accounts"
            " target_tags allow.ports deny.ports"  # the provider sorts the ports before it compares rules
        ),
        "google_compute_router_nat": (
            "drain_nat_ips initial_nat_ips nat_ips nat64_subnetwork rules subnetwork"
            " subnetwork.secondary_ip_range_names subnetwork.source_ip_ranges_to_nat"
            " rules.action.source_nat_active_ips rules.action.source_nat_active_ranges"
            " rules.action.source_nat_drain_ips rules.action.source_nat_drain_ranges"
        ),
        "google_compute_security_policy": (
            "rule rule.match.config.src_ip_ranges rule.preconfigured_waf_config.exclusion.target_rule_ids"
            " advanced_options_config.user_ip_request_headers advanced_options_config.json_custom_config.content_types"
        ),
        "google_compute_ssl_policy": "custom_features",
        "google_compute_subnetwork": "log_config.metadata_fields",
        "google_compute_url_map": "host_rule host_rule.hosts path_matcher.path_rule.paths",
        "google_container_analysis_note": "related_note_names related_url",
        "google_container_cluster": (
            "node_locations enable_k8s_beta_apis.enabled_apis maintenance_policy.maintenance_exclusion"
            " master_authorized_networks_config.cidr_blocks node_config.oauth_scopes node_pool.node_locations"
            " node_pool.node_config.oauth_scopes ip_allocation_policy.additional_pod_ranges_config.pod_range_names"
            " user_managed_keys_config.service_account_signing_keys"
            " user_managed_keys_config.service_account_verification_keys"
        ),
        "google_container_node_pool": "node_locations node_config.oauth_scopes",
        "google_firestore_field": "index_config.indexes",
        "google_logging_metric": "metric_descriptor.labels",
        "google_logging_project_bucket_config": "index_configs",
        "google_memorystore_instance": "gcs_source.uris",
        "google_project_iam_audit_config": "audit_log_config audit_log_config.exempted_members",
        "google_project_iam_custom_role": "permissions",
        "google_pubsub_topic": "message_storage_policy.allowed_persistence_regions",
        "google_storage_bucket": (
            "custom_placement_config.data_locations lifecycle_rule.action lifecycle_rule.condition"
        ),
        "kubernetes_deployment_v1": "spec.template.spec.security_context.supplemental_groups",
        "kubernetes_service_account_v1": "image_pull_secret secret",
        "kubernetes_service_v1": "spec.external_ips spec.load_balancer_source_ranges",
    }.items()
}


def is_set(type_: str, path: tuple[str, ...]) -> bool:
    """Say whether the list at a path of this type is a set; indexes in the path do not count."""
    dotted = ".".join(unindexed(path))
    if dotted in EVERYWHERE or dotted in SETS.get(type_, ()):
        return True
    return type_.startswith("kubernetes_") and any(dotted.endswith(f".{end}") for end in KUBERNETES)
