"""Memorystore for Valkey: counts, limits and leases of a region, reached by addresses of the region's own subnet."""

from __future__ import annotations

from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey
from cdktf_cdktf_provider_google.memorystore_instance import (
    MemorystoreInstance,
    MemorystoreInstanceAutomatedBackupConfig,
    MemorystoreInstanceAutomatedBackupConfigFixedFrequencySchedule,
    MemorystoreInstanceAutomatedBackupConfigFixedFrequencyScheduleStartTime,
    MemorystoreInstanceDesiredAutoCreatedEndpoints,
    MemorystoreInstanceMaintenancePolicy,
    MemorystoreInstanceMaintenancePolicyWeeklyMaintenanceWindow,
    MemorystoreInstanceMaintenancePolicyWeeklyMaintenanceWindowStartTime,
    MemorystoreInstancePersistenceConfig,
    MemorystoreInstancePersistenceConfigAofConfig,
    MemorystoreInstanceZoneDistributionConfig,
)
from cdktf_cdktf_provider_google.network_connectivity_service_connection_policy import (
    NetworkConnectivityServiceConnectionPolicy,
    NetworkConnectivityServiceConnectionPolicyPscConfig,
)

from stacks.environment import Data, Region
from stacks.network import Network
from stacks.stack import ApxStack

ENGINE = "VALKEY_8_0"


def valkey(stack: ApxStack, region: Region, network: Network, key: KmsCryptoKey) -> MemorystoreInstance:
    """Make a region's instance: callers prove who they are to it by IAM, and it to them by TLS."""
    data = stack.environment.data
    return MemorystoreInstance(
        stack,
        f"valkey-{region.name}",
        instance_id=f"apx-{region.name}",
        location=region.name,
        engine_version=ENGINE,
        mode="CLUSTER_DISABLED",  # a script touches keys of many products, so they are all on one primary
        shard_count=1,
        replica_count=data.valkey_replicas,
        node_type=data.valkey_node_type,
        authorization_mode="IAM_AUTH",
        transit_encryption_mode="SERVER_AUTHENTICATION",
        kms_key=key.id,
        # Full, it refuses to write, aloud: an evicted lease or bucket would be lost silently.
        engine_configs={"maxmemory-policy": "noeviction"},
        persistence_config=MemorystoreInstancePersistenceConfig(
            mode="AOF", aof_config=MemorystoreInstancePersistenceConfigAofConfig(append_fsync="EVERY_SEC")
        ),
        zone_distribution_config=MemorystoreInstanceZoneDistributionConfig(mode="MULTI_ZONE"),
        desired_auto_created_endpoints=[
            MemorystoreInstanceDesiredAutoCreatedEndpoints(
                network=network.network.id, project_id=stack.environment.project
            )
        ],
        automated_backup_config=_backups(data),
        maintenance_policy=_maintenance(stack.environment.cluster.maintenance_hour_utc),
        deletion_protection_enabled=data.delete_protection,
        depends_on=[_way_in(stack, region, network)],
    )


def _way_in(stack: ApxStack, region: Region, network: Network) -> NetworkConnectivityServiceConnectionPolicy:
    """Let Memorystore take addresses of the region's subnet for Private Service Connect."""
    return NetworkConnectivityServiceConnectionPolicy(
        stack,
        f"valkey-way-in-{region.name}",
        name=f"apx-{stack.environment.name}-valkey-{region.name}",
        location=region.name,
        service_class="gcp-memorystore",
        network=network.network.id,
        psc_config=NetworkConnectivityServiceConnectionPolicyPscConfig(subnetworks=[network.subnets[region.name].id]),
    )


def _backups(data: Data) -> MemorystoreInstanceAutomatedBackupConfig:
    start = MemorystoreInstanceAutomatedBackupConfigFixedFrequencyScheduleStartTime(hours=1)
    return MemorystoreInstanceAutomatedBackupConfig(
        retention=f"{data.backup_retention_days * 86_400}s",
        fixed_frequency_schedule=MemorystoreInstanceAutomatedBackupConfigFixedFrequencySchedule(start_time=start),
    )


def _maintenance(hour_utc: int) -> MemorystoreInstanceMaintenancePolicy:
    start = MemorystoreInstanceMaintenancePolicyWeeklyMaintenanceWindowStartTime(hours=hour_utc)
    window = MemorystoreInstanceMaintenancePolicyWeeklyMaintenanceWindow(day="WEDNESDAY", start_time=start)
    return MemorystoreInstanceMaintenancePolicy(weekly_maintenance_window=[window])
