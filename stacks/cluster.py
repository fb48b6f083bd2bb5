"""A GKE cluster in each region, where everything of APX runs, and its daily backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_google.container_cluster import (
    ContainerCluster,
    ContainerClusterAddonsConfig,
    ContainerClusterAddonsConfigGkeBackupAgentConfig,
    ContainerClusterBinaryAuthorization,
    ContainerClusterClusterAutoscaling,
    ContainerClusterClusterAutoscalingAutoProvisioningDefaults,
    ContainerClusterControlPlaneEndpointsConfig,
    ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig,
    ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig,
    ContainerClusterDatabaseEncryption,
    ContainerClusterIpAllocationPolicy,
    ContainerClusterLoggingConfig,
    ContainerClusterMaintenancePolicy,
    ContainerClusterMaintenancePolicyRecurringWindow,
    ContainerClusterMasterAuth,
    ContainerClusterMasterAuthClientCertificateConfig,
    ContainerClusterMasterAuthorizedNetworksConfig,
    ContainerClusterMasterAuthorizedNetworksConfigCidrBlocks,
    ContainerClusterMonitoringConfig,
    ContainerClusterMonitoringConfigManagedPrometheus,
    ContainerClusterNodeConfig,
    ContainerClusterNodeConfigShieldedInstanceConfig,
    ContainerClusterNodeConfigWorkloadMetadataConfig,
    ContainerClusterPrivateClusterConfig,
    ContainerClusterReleaseChannel,
    ContainerClusterSecretManagerConfig,
    ContainerClusterSecurityPostureConfig,
    ContainerClusterWorkloadIdentityConfig,
)
from cdktf_cdktf_provider_google.container_node_pool import (
    ContainerNodePool,
    ContainerNodePoolAutoscaling,
    ContainerNodePoolManagement,
    ContainerNodePoolNodeConfig,
    ContainerNodePoolNodeConfigShieldedInstanceConfig,
    ContainerNodePoolNodeConfigWorkloadMetadataConfig,
    ContainerNodePoolUpgradeSettings,
)
from cdktf_cdktf_provider_google.gke_backup_backup_plan import (
    GkeBackupBackupPlan,
    GkeBackupBackupPlanBackupConfig,
    GkeBackupBackupPlanBackupConfigEncryptionKey,
    GkeBackupBackupPlanBackupSchedule,
    GkeBackupBackupPlanRetentionPolicy,
)
from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
from constructs import Construct

from stacks.encryption import Encryption
from stacks.environment import Environment, Region
from stacks.identity import NAMESPACE, NODES, WORKLOADS, Identity
from stacks.network import PODS, SERVICES, Network
from stacks.stack import ApxStack, suppress

A_TUESDAY = datetime(2026, 1, 6, tzinfo=UTC)
"""Windows are counted from it. The first must be on one of the days on which they recur."""
MAINTENANCE_DAYS = "TU,WE,TH"
MAINTENANCE = timedelta(hours=4)
"""Twelve hours a week are 48 in any 32 days, which is the least that GKE takes:
https://cloud.google.com/kubernetes-engine/docs/concepts/maintenance-windows-and-exclusions"""
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""What nodes may do is said by their account's roles alone."""
CONTROL_PLANE = ("APISERVER", "SCHEDULER", "CONTROLLER_MANAGER")
LOGS = ("SYSTEM_COMPONENTS", "WORKLOADS", *CONTROL_PLANE)
METRICS = ("SYSTEM_COMPONENTS", *CONTROL_PLANE, "POD", "DEPLOYMENT", "HPA")
ACCEPTED = {
    "CKV_GCP_12": "Dataplane V2 enforces network policies itself; the check only knows the add-on that it replaces.",
    "CKV_GCP_65": "Nobody has rights by a Google group: workflows and people come in by IAM.",
}
ACCEPTED_IN_AUTOPILOT = {
    "CKV_GCP_61": "Always so in Autopilot; the provider refuses the setting beside it.",
    "CKV_GCP_69": "Always so in Autopilot, whose nodes have no settings here.",
}
ACCEPTED_WITHOUT_ADDRESS = {
    "CKV_GCP_20": "The control plane has no address that answers, so no network needs to be let in."
}


class Cluster(ApxStack):
    """The `cluster` of a `region`: private, encrypted with the region's key, in two modes as alike as GKE lets them."""

    def __init__(  # noqa: PLR0917 -- it stands on three stacks
        self,
        scope: Construct,
        environment: Environment,
        region: Region,
        identity: Identity,
        network: Network,
        encryption: Encryption,
    ) -> None:
        super().__init__(scope, environment, f"cluster-{region.name}")
        self.region = region
        self._node_account = identity.accounts[NODES].email
        self._key = encryption.data_keys[region.name].id
        self.cluster = self._cluster(network)
        if environment.cluster.mode == "standard":
            self._node_pool()
        self._backup_plan()
        if region == environment.home:
            self._pods(identity)
        self._accept()

    def _cluster(self, network: Network) -> ContainerCluster:
        return ContainerCluster(
            self,
            "cluster",
            name=f"apx-{self.region.name}",
            location=self.region.name,
            node_locations=list(self.region.zone_names),
            deletion_protection=self.environment.data.delete_protection,
            resource_labels={"region": self.region.name},
            release_channel=ContainerClusterReleaseChannel(channel=self.environment.cluster.release_channel),
            maintenance_policy=maintenance_policy(self.environment.cluster.maintenance_hour_utc),
            network=network.network.id,
            subnetwork=network.subnets[self.region.name].id,
            networking_mode="VPC_NATIVE",
            ip_allocation_policy=ContainerClusterIpAllocationPolicy(
                cluster_secondary_range_name=PODS, services_secondary_range_name=SERVICES
            ),
            datapath_provider="ADVANCED_DATAPATH",
            **self._reach(),
            **self._protection(),
            **self._observation(),
            **(self._autopilot() if self.environment.cluster.mode == "autopilot" else self._standard()),
        )

    def _reach(self) -> dict[str, Any]:
        """Give no node an address of its own, and let the control plane be reached by name, through IAM."""
        operators = self.environment.cluster.operators_cidr
        reach: dict[str, Any] = {
            # Without `master_ipv4_cidr_block`: GKE takes the control plane's private address from the subnet, and its
            # answer to a range of its own beside a disabled address is nowhere promised.
            "private_cluster_config": ContainerClusterPrivateClusterConfig(enable_private_nodes=True),
            "control_plane_endpoints_config": ContainerClusterControlPlaneEndpointsConfig(
                dns_endpoint_config=ContainerClusterControlPlaneEndpointsConfigDnsEndpointConfig(
                    allow_external_traffic=True  # GitHub's runners come from anywhere; IAM says who may connect
                ),
                ip_endpoints_config=ContainerClusterControlPlaneEndpointsConfigIpEndpointsConfig(
                    enabled=bool(operators)
                ),
            ),
        }
        if operators:
            reach["master_authorized_networks_config"] = ContainerClusterMasterAuthorizedNetworksConfig(
                cidr_blocks=[ContainerClusterMasterAuthorizedNetworksConfigCidrBlocks(cidr_block=o) for o in operators],
                gcp_public_cidrs_access_enabled=False,
            )
        return reach

    def _protection(self) -> dict[str, Any]:
        """Let pods be who they are and no more, run only what is attested, and keep secrets from who reads disks."""
        return {
            "workload_identity_config": ContainerClusterWorkloadIdentityConfig(
                workload_pool=f"{self.environment.project}.svc.id.goog"
            ),
            "binary_authorization": ContainerClusterBinaryAuthorization(
                evaluation_mode="PROJECT_SINGLETON_POLICY_ENFORCE"
            ),
            "database_encryption": ContainerClusterDatabaseEncryption(state="ENCRYPTED", key_name=self._key),
            "secret_manager_config": ContainerClusterSecretManagerConfig(enabled=True),
            "security_posture_config": ContainerClusterSecurityPostureConfig(mode="BASIC"),
            "master_auth": ContainerClusterMasterAuth(
                client_certificate_config=ContainerClusterMasterAuthClientCertificateConfig(
                    issue_client_certificate=False
                )
            ),
            "enable_legacy_abac": False,
            "addons_config": ContainerClusterAddonsConfig(
                gke_backup_agent_config=ContainerClusterAddonsConfigGkeBackupAgentConfig(enabled=True)
            ),
        }

    def _observation(self) -> dict[str, Any]:
        return {
            "logging_config": ContainerClusterLoggingConfig(enable_components=list(LOGS)),
            "monitoring_config": ContainerClusterMonitoringConfig(
                enable_components=list(METRICS),
                managed_prometheus=ContainerClusterMonitoringConfigManagedPrometheus(enabled=True),
            ),
        }

    def _autopilot(self) -> dict[str, Any]:
        """Let Google keep the nodes, which it shields itself; the provider refuses to be told so beside this mode."""
        return {
            "enable_autopilot": True,
            "cluster_autoscaling": ContainerClusterClusterAutoscaling(
                auto_provisioning_defaults=ContainerClusterClusterAutoscalingAutoProvisioningDefaults(
                    service_account=self._node_account, oauth_scopes=list(SCOPES), boot_disk_kms_key=self._key
                )
            ),
        }

    def _standard(self) -> dict[str, Any]:
        """Keep the nodes ourselves, in a pool that can change without a new cluster, so not in the first."""
        # `enable_autopilot` stays unset: the provider takes its `false` for a conflict with all of these
        # (hashicorp/terraform-provider-google#20991).
        return {
            "enable_shielded_nodes": True,
            "enable_intranode_visibility": True,
            "remove_default_node_pool": True,
            "initial_node_count": 1,
            # Of the first pool, for the minutes that it lives: without it, it runs as Compute Engine's own account.
            "node_config": ContainerClusterNodeConfig(
                service_account=self._node_account,
                oauth_scopes=list(SCOPES),
                boot_disk_kms_key=self._key,
                shielded_instance_config=ContainerClusterNodeConfigShieldedInstanceConfig(
                    enable_secure_boot=True, enable_integrity_monitoring=True
                ),
                workload_metadata_config=ContainerClusterNodeConfigWorkloadMetadataConfig(mode="GKE_METADATA"),
            ),
            # Where the first pool's was, GKE then tells of another pool's.
            "lifecycle": TerraformResourceLifecycle(ignore_changes=["node_config"]),
        }

    def _node_pool(self) -> None:
        """Add the nodes of mode standard, from one to the most in each zone; an upgrade adds before it takes away."""
        ContainerNodePool(
            self,
            "nodes",
            name="apx",
            cluster=self.cluster.id,
            location=self.region.name,
            initial_node_count=1,
            autoscaling=ContainerNodePoolAutoscaling(
                min_node_count=1,
                max_node_count=self.environment.cluster.most_nodes_per_zone,
                location_policy="BALANCED",
            ),
            management=ContainerNodePoolManagement(auto_repair=True, auto_upgrade=True),
            upgrade_settings=ContainerNodePoolUpgradeSettings(strategy="SURGE", max_surge=1, max_unavailable=0),
            node_config=self._node_config(),
            # Resizing changes it where it is read, and a change of it would replace the pool.
            lifecycle=TerraformResourceLifecycle(ignore_changes=["initial_node_count"]),
        )

    def _node_config(self) -> ContainerNodePoolNodeConfig:
        return ContainerNodePoolNodeConfig(
            machine_type=self.environment.cluster.machine_type,
            image_type="COS_CONTAINERD",
            disk_type="pd-balanced",
            disk_size_gb=100,
            boot_disk_kms_key=self._key,
            service_account=self._node_account,
            oauth_scopes=list(SCOPES),
            metadata={"disable-legacy-endpoints": "true"},
            shielded_instance_config=ContainerNodePoolNodeConfigShieldedInstanceConfig(
                enable_secure_boot=True, enable_integrity_monitoring=True
            ),
            workload_metadata_config=ContainerNodePoolNodeConfigWorkloadMetadataConfig(mode="GKE_METADATA"),
        )

    def _pods(self, identity: Identity) -> None:
        """Let each Kubernetes service account act as the Google account of its name (Workload Identity).

        One pool serves all clusters of the project, and it is there once the first of them is.
        """
        for name in WORKLOADS:
            ServiceAccountIamMember(
                self,
                f"pods-{name}",
                service_account_id=identity.accounts[name].name,
                role="roles/iam.workloadIdentityUser",
                member=f"serviceAccount:{self.environment.project}.svc.id.goog[{NAMESPACE}/{name}]",
                depends_on=[self.cluster],
            )

    def _backup_plan(self) -> None:
        """Back the cluster up each day, an hour before Google may upgrade it."""
        hour = (self.environment.cluster.maintenance_hour_utc - 1) % 24
        GkeBackupBackupPlan(
            self,
            "backups",
            name=f"apx-{self.region.name}",
            cluster=self.cluster.id,
            location=self.region.name,
            backup_schedule=GkeBackupBackupPlanBackupSchedule(cron_schedule=f"0 {hour} * * *"),
            retention_policy=GkeBackupBackupPlanRetentionPolicy(
                backup_retain_days=self.environment.data.backup_retention_days
            ),
            backup_config=GkeBackupBackupPlanBackupConfig(
                all_namespaces=True,
                include_volume_data=True,
                include_secrets=False,  # they are in Secret Manager, which nodes mount them from
                encryption_key=GkeBackupBackupPlanBackupConfigEncryptionKey(gcp_kms_encryption_key=self._key),
            ),
        )

    def _accept(self) -> None:
        """Say why some of checkov's checks fail here."""
        settings = self.environment.cluster
        reasons = {
            **ACCEPTED,
            **(ACCEPTED_IN_AUTOPILOT if settings.mode == "autopilot" else {}),
            **({} if settings.operators_cidr else ACCEPTED_WITHOUT_ADDRESS),
        }
        for check, reason in reasons.items():
            suppress(self.cluster, check, reason)


def maintenance_policy(hour_utc: int) -> ContainerClusterMaintenancePolicy:
    """Let Google upgrade from this hour on, on days after which somebody is at work the next day."""
    start = A_TUESDAY + timedelta(hours=hour_utc)
    return ContainerClusterMaintenancePolicy(
        recurring_window=ContainerClusterMaintenancePolicyRecurringWindow(
            start_time=f"{start:%Y-%m-%dT%H:%M:%SZ}",
            end_time=f"{start + MAINTENANCE:%Y-%m-%dT%H:%M:%SZ}",
            recurrence=f"FREQ=WEEKLY;BYDAY={MAINTENANCE_DAYS}",
        )
    )
