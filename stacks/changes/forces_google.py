"""Google's rows of `forces.py`: by type, without `google_`, its source, what forces replacement, what does not.

`project` forces it everywhere in this provider, `labels` nowhere: neither is repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping

GOOGLE: Mapping[str, tuple[str, str, str]] = {
    "artifact_registry_repository": (
        "artifactregistry/resource_artifact_registry_repository.go",
        "repository_id location format mode kms_key_name",
        "description docker_config cleanup_policies cleanup_policy_dry_run vulnerability_scanning_config",
    ),
    "bigquery_dataset": (
        "bigquery/resource_bigquery_dataset.go",
        "dataset_id location external_dataset_reference",
        (
            "access default_encryption_configuration default_partition_expiration_ms default_table_expiration_ms"
            " delete_contents_on_destroy description friendly_name max_time_travel_hours"
        ),
    ),
    "bigquery_table": (
        "bigquery/resource_bigquery_table.go",
        "dataset_id table_id time_partitioning.field range_partitioning",  # of the schema some changes force it
        "description friendly_name expiration_time time_partitioning.expiration_ms require_partition_filter",
    ),
    "binary_authorization_attestor": (
        "binaryauthorization/resource_binary_authorization_attestor.go",
        "name attestation_authority_note.note_reference",
        "description attestation_authority_note.public_keys",
    ),
    "binary_authorization_policy": ("binaryauthorization/resource_binary_authorization_policy.go", "", "*"),
    "certificate_manager_certificate": (
        "certificatemanager/resource_certificate_manager_certificate.go",
        "name location scope managed",
        "description",
    ),
    "certificate_manager_certificate_map": (
        "certificatemanager/resource_certificate_manager_certificate_map.go",
        "name",
        "description",
    ),
    "certificate_manager_certificate_map_entry": (
        "certificatemanager/resource_certificate_manager_certificate_map_entry.go",
        "name map hostname matcher",
        "certificates description",
    ),
    "certificate_manager_dns_authorization": (
        "certificatemanager/resource_certificate_manager_dns_authorization.go",
        "name domain location type",
        "description",
    ),
    "compute_backend_service": (
        "compute/resource_compute_backend_service.go",
        "name",
        (
            "backend cdn_policy compression_mode connection_draining_timeout_sec custom_request_headers"
            " custom_response_headers description enable_cdn health_checks iap locality_lb_policy log_config port_name"
            " protocol security_policy session_affinity timeout_sec"
        ),
    ),
    "compute_firewall": ("compute/resource_compute_firewall.go", "name direction params", "*"),
    "compute_global_address": ("compute/resource_compute_global_address.go", "*", ""),
    "compute_global_forwarding_rule": (
        "compute/resource_compute_global_forwarding_rule.go",
        (
            "name description ip_address ip_protocol ip_version metadata_filters network port_range source_ip_ranges"
            " subnetwork"
        ),
        "target",
    ),
    "compute_health_check": ("compute/resource_compute_health_check.go", "name", "*"),
    "compute_network": (
        "compute/resource_compute_network.go",
        "name auto_create_subnetworks description internal_ipv6_range network_profile params",
        "routing_mode network_firewall_policy_enforcement_order delete_default_routes_on_create",
    ),
    "compute_router": ("compute/resource_compute_router.go", "name network region", "bgp description"),
    "compute_router_nat": (
        "compute/resource_compute_router_nat.go",
        "name router region type endpoint_types initial_nat_ips",
        (
            "log_config max_ports_per_vm min_ports_per_vm enable_dynamic_port_allocation nat_ips nat_ip_allocate_option"
            " source_subnetwork_ip_ranges_to_nat subnetwork udp_idle_timeout_sec icmp_idle_timeout_sec"
            " tcp_established_idle_timeout_sec tcp_time_wait_timeout_sec tcp_transitory_idle_timeout_sec"
            " enable_endpoint_independent_mapping rules"
        ),
    ),
    "compute_security_policy": (
        "compute/resource_compute_security_policy.go",
        "name",
        "rule description adaptive_protection_config advanced_options_config",
    ),
    "compute_ssl_policy": (
        "compute/resource_compute_ssl_policy.go",
        "name description",
        "profile min_tls_version custom_features",
    ),
    "compute_subnetwork": (
        "compute/resource_compute_subnetwork.go",
        "name network region description reserved_internal_range external_ipv6_prefix",  # a smaller range forces it
        "private_ip_google_access log_config secondary_ip_range role",
    ),
    "compute_target_http_proxy": (
        "compute/resource_compute_target_http_proxy.go",
        "name description proxy_bind http_keep_alive_timeout_sec",
        "url_map",
    ),
    "compute_target_https_proxy": (
        "compute/resource_compute_target_https_proxy.go",
        "name description proxy_bind http_keep_alive_timeout_sec",
        "url_map ssl_certificates certificate_map certificate_manager_certificates quic_override ssl_policy",
    ),
    "compute_url_map": ("compute/resource_compute_url_map.go", "name", "*"),
    "container_analysis_note": (
        "containeranalysis/resource_container_analysis_note.go",
        "name",
        "short_description long_description expiration_time related_url related_note_names",
    ),
    "container_cluster": (
        "container/resource_container_cluster.go",
        (
            "name location network subnetwork networking_mode datapath_provider enable_autopilot cluster_ipv4_cidr"
            " default_max_pods_per_node description enable_kubernetes_alpha enable_tpu initial_node_count"
            " ip_allocation_policy.cluster_secondary_range_name ip_allocation_policy.services_secondary_range_name"
            " ip_allocation_policy.cluster_ipv4_cidr_block ip_allocation_policy.services_ipv4_cidr_block"
            " master_auth.client_certificate_config private_cluster_config.master_ipv4_cidr_block"
            " private_cluster_config.private_endpoint_subnetwork confidential_nodes"
        ),
        (
            "addons_config binary_authorization control_plane_endpoints_config database_encryption logging_config"
            " maintenance_policy master_authorized_networks_config monitoring_config node_locations release_channel"
            " secret_manager_config security_posture_config min_master_version vertical_pod_autoscaling"
            " workload_identity_config enable_shielded_nodes enable_legacy_abac cost_management_config"
            " notification_config gateway_api_config cluster_autoscaling.resource_limits"
        ),
    ),
    "container_node_pool": (
        "container/resource_container_node_pool.go",
        (
            "name name_prefix cluster location initial_node_count max_pods_per_node placement_policy"
            " network_config.create_pod_range network_config.pod_range network_config.pod_ipv4_cidr_block"
            " network_config.pod_cidr_overprovision_config"
        ),
        (
            "autoscaling management node_count node_locations upgrade_settings version"
            " network_config.enable_private_nodes"
        ),
    ),
    "firestore_backup_schedule": (
        "firestore/resource_firestore_backup_schedule.go",
        "database daily_recurrence weekly_recurrence",
        "retention",
    ),
    "firestore_database": (
        "firestore/resource_firestore_database.go",
        "name location_id cmek_config database_edition tags",
        "type app_engine_integration_mode concurrency_mode delete_protection_state point_in_time_recovery_enablement",
    ),
    "firestore_field": (
        "firestore/resource_firestore_field.go",
        "database collection field",
        "index_config ttl_config",
    ),
    "firestore_index": ("firestore/resource_firestore_index.go", "*", ""),
    "gke_backup_backup_plan": ("gkebackup/resource_gke_backup_backup_plan.go", "name location cluster", "*"),
    "iam_workload_identity_pool": (
        "iambeta/resource_iam_workload_identity_pool.go",
        "workload_identity_pool_id",
        "display_name description disabled",
    ),
    "iam_workload_identity_pool_provider": (
        "iambeta/resource_iam_workload_identity_pool_provider.go",
        "workload_identity_pool_id workload_identity_pool_provider_id",
        "attribute_condition attribute_mapping display_name description disabled oidc",
    ),
    "kms_crypto_key": (
        "kms/resource_kms_crypto_key.go",
        (
            "name key_ring purpose crypto_key_backend destroy_scheduled_duration import_only"
            " version_template.protection_level"
        ),
        "rotation_period skip_initial_version_creation version_template.algorithm",
    ),
    "kms_key_ring": ("kms/resource_kms_key_ring.go", "*", ""),
    "logging_metric": ("logging/resource_logging_metric.go", "name", "filter description label_extractors disabled"),
    "logging_project_bucket_config": (
        "logging/resource_logging_bucket_config.go",
        "bucket_id location",
        "retention_days description locked cmek_settings index_configs enable_analytics",
    ),
    "logging_project_exclusion": ("logging/resource_logging_exclusion.go", "name", "filter description disabled"),
    "logging_project_sink": (
        "logging/resource_logging_project_sink.go",
        "name",
        (
            "destination filter description disabled exclusions unique_writer_identity custom_writer_identity"
            " bigquery_options"
        ),
    ),
    "memorystore_instance": (
        "memorystore/resource_memorystore_instance.go",
        (
            "instance_id location allow_fewer_zones_deployment authorization_mode gcs_source kms_key"
            " managed_backup_source mode transit_encryption_mode zone_distribution_config.zone"
        ),
        (
            "automated_backup_config deletion_protection_enabled engine_configs maintenance_policy persistence_config"
            " replica_count shard_count"
        ),
    ),
    "monitoring_alert_policy": ("monitoring/resource_monitoring_alert_policy.go", "", "*"),
    "monitoring_custom_service": ("monitoring/resource_monitoring_service.go", "service_id", "display_name telemetry"),
    "monitoring_dashboard": ("monitoring/resource_monitoring_dashboard.go", "", "dashboard_json"),
    "monitoring_notification_channel": (
        "monitoring/resource_monitoring_notification_channel.go",
        "",
        "display_name description enabled force_delete",
    ),
    "monitoring_slo": (
        "monitoring/resource_monitoring_slo.go",
        "service slo_id",
        "display_name goal rolling_period_days calendar_period request_based_sli windows_based_sli basic_sli",
    ),
    "monitoring_uptime_check_config": (
        "monitoring/resource_monitoring_uptime_check_config.go",
        "monitored_resource resource_group checker_type http_check.request_method",
        "display_name content_matchers http_check.path http_check.port period timeout selected_regions",
    ),
    "network_connectivity_service_connection_policy": (
        "networkconnectivity/resource_network_connectivity_service_connection_policy.go",
        "name location network service_class",
        "description psc_config",
    ),
    "project_iam_audit_config": (
        "google/tpgiamresource/resource_iam_audit_config.go",
        "service",
        "audit_log_config",
    ),
    "project_iam_custom_role": (
        "resourcemanager/resource_google_project_iam_custom_role.go",
        "role_id",
        "permissions title description stage",
    ),
    "project_service": (
        "resourcemanager/resource_google_project_service.go",
        "service",
        "disable_on_destroy disable_dependent_services",
    ),
    "pubsub_schema": ("pubsub/resource_pubsub_schema.go", "name", "definition"),
    "pubsub_subscription": (
        "pubsub/resource_pubsub_subscription.go",
        "name topic enable_message_ordering filter",
        (
            "ack_deadline_seconds bigquery_config cloud_storage_config dead_letter_policy enable_exactly_once_delivery"
            " expiration_policy message_retention_duration push_config retain_acked_messages retry_policy"
        ),
    ),
    "pubsub_topic": (
        "pubsub/resource_pubsub_topic.go",
        "name",
        "kms_key_name message_retention_duration message_storage_policy schema_settings",
    ),
    "secret_manager_secret": (
        "secretmanager/resource_secret_manager_secret.go",
        "secret_id replication rotation.rotation_period ttl",
        (
            "expire_time version_aliases version_destroy_ttl topics rotation.next_rotation_time"
            " replication.auto.customer_managed_encryption"
            " replication.user_managed.replicas.customer_managed_encryption"
        ),
    ),
    "service_account": (
        "resourcemanager/resource_google_service_account.go",
        "account_id",
        "display_name description disabled",
    ),
    "storage_bucket": (
        "storage/resource_storage_bucket.go",
        "name location enable_object_retention hierarchical_namespace",
        (
            "autoclass cors encryption force_destroy lifecycle_rule logging public_access_prevention requester_pays"
            " retention_policy.retention_period soft_delete_policy storage_class uniform_bucket_level_access versioning"
            " website default_event_based_hold"
        ),
    ),
}
