"""What is written once and read often: releases and large bodies in buckets, images in a registry."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from cdktf import TerraformResourceLifecycle
from cdktf_cdktf_provider_google.artifact_registry_repository import (
    ArtifactRegistryRepository,
    ArtifactRegistryRepositoryCleanupPolicies,
    ArtifactRegistryRepositoryCleanupPoliciesCondition,
    ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions,
    ArtifactRegistryRepositoryDockerConfig,
    ArtifactRegistryRepositoryVulnerabilityScanningConfig,
)
from cdktf_cdktf_provider_google.artifact_registry_repository_iam_member import ArtifactRegistryRepositoryIamMember
from cdktf_cdktf_provider_google.kms_crypto_key import KmsCryptoKey
from cdktf_cdktf_provider_google.project_iam_custom_role import ProjectIamCustomRole
from cdktf_cdktf_provider_google.storage_bucket import (
    StorageBucket,
    StorageBucketEncryption,
    StorageBucketLifecycleRule,
    StorageBucketLifecycleRuleAction,
    StorageBucketLifecycleRuleCondition,
    StorageBucketLogging,
    StorageBucketSoftDeletePolicy,
    StorageBucketVersioning,
)
from cdktf_cdktf_provider_google.storage_bucket_iam_member import (
    StorageBucketIamMember,
    StorageBucketIamMemberCondition,
)
from constructs import Construct

from apx.backends.gcp import names
from apx.catalog.model import DAY_S, MOST_KEPT_S
from stacks.encryption import Encryption
from stacks.environment import Environment, Region
from stacks.identity import NODES, WORKLOADS, Identity
from stacks.stack import ApxStack, suppress

CREATE, READ = "roles/storage.objectCreator", "roles/storage.objectViewer"
BODIES_DAYS = ceil(MOST_KEPT_S / DAY_S)
"""No result can name a body that is older. Its age is its custom time: a body that comes again is young again."""
OLD_VERSIONS_DAYS, ACCESS_LOGS_DAYS, UNTAGGED_IMAGES_DAYS = 30, 90, 30
SOFT_DELETED_S = 7 * DAY_S
RECENT_IMAGES = 20
ACCESS_LOGGER = "group:cloud-storage-analytics@google.com"
"""Google's own group that delivers access logs: https://cloud.google.com/storage/docs/access-logs"""
REGISTRY_ROLES: Mapping[str, str] = {
    NODES: "roles/artifactregistry.reader",
    "builder": "roles/artifactregistry.writer",
}


class Artifacts(ApxStack):
    """`buckets` by the region's name, and the `registry` of images."""

    def __init__(self, scope: Construct, environment: Environment, identity: Identity, encryption: Encryption) -> None:
        super().__init__(scope, environment, "artifacts")
        self._identity = identity
        self._renewer = self._renewing_role()
        keys = encryption.data_keys
        self.buckets = {region.name: self._bucket(region, keys[region.name]) for region in environment.regions}
        for region in environment.regions:
            self._grants(region, self.buckets[region.name])
        self.registry = self._registry(environment.home, keys[environment.home.name])

    def _bucket(self, region: Region, key: KmsCryptoKey) -> StorageBucket:
        """Make a region's bucket, in which no release is ever lost and no body outlives its result."""
        return StorageBucket(
            self,
            f"bucket-{region.name}",
            name=names.bucket(self.environment.project, region.name),
            location=region.name,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            encryption=StorageBucketEncryption(default_kms_key_name=key.id),
            versioning=StorageBucketVersioning(enabled=True),
            soft_delete_policy=StorageBucketSoftDeletePolicy(retention_duration_seconds=SOFT_DELETED_S),
            logging=StorageBucketLogging(log_bucket=self._access_logs(region, key).name),
            lifecycle_rule=[
                _deleted(days_since_noncurrent_time=OLD_VERSIONS_DAYS),
                _deleted(days_since_custom_time=BODIES_DAYS, matches_prefix=[names.BODIES]),
            ],
            lifecycle=self._kept(),
        )

    def _access_logs(self, region: Region, key: KmsCryptoKey) -> StorageBucket:
        """Make the bucket where Google writes who read and wrote the region's objects."""
        bucket = StorageBucket(
            self,
            f"access-logs-{region.name}",
            name=f"{names.bucket(self.environment.project, region.name)}-logs",
            location=region.name,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            encryption=StorageBucketEncryption(default_kms_key_name=key.id),
            lifecycle_rule=[_deleted(age=ACCESS_LOGS_DAYS)],
            lifecycle=self._kept(),
        )
        suppress(bucket, "CKV_GCP_62", "it holds the access logs: its own would never end")
        suppress(bucket, "CKV_GCP_78", "Google writes each log once, and nobody else may write")
        self._grant(f"access-logs-{region.name}-google", bucket, CREATE, ACCESS_LOGGER)
        return bucket

    def _kept(self) -> TerraformResourceLifecycle:
        return TerraformResourceLifecycle(prevent_destroy=self.environment.data.delete_protection)

    def _grants(self, region: Region, bucket: StorageBucket) -> None:
        """Let the promoter add releases, routers and workers bodies, all read; to delete and replace is nobody's.

        Replacing an object takes the right to delete it, which no role here has.
        """
        members = {name: self._identity.accounts[name].member for name in (*WORKLOADS, "promoter")}
        for name, member in members.items():
            self._grant(f"read-{region.name}-{name}", bucket, READ, member)
        self._grant(f"create-{region.name}-promoter", bucket, CREATE, members["promoter"])
        bodies = StorageBucketIamMemberCondition(
            title="bodies",
            expression=f'resource.name.startsWith("projects/_/buckets/{bucket.name}/objects/{names.BODIES}")',
        )
        for name in ("router", "worker"):
            self._grant(f"create-{region.name}-{name}", bucket, CREATE, members[name], bodies)
            self._grant(f"renew-{region.name}-{name}", bucket, self._renewer.name, members[name], bodies)

    def _grant(
        self,
        name: str,
        bucket: StorageBucket,
        role: str,
        member: str,
        condition: StorageBucketIamMemberCondition | None = None,
    ) -> None:
        StorageBucketIamMember(self, name, bucket=bucket.name, role=role, member=member, condition=condition)

    def _renewing_role(self) -> ProjectIamCustomRole:
        """Make the role that sets a body's custom time: Google's roles that may, may delete too."""
        return ProjectIamCustomRole(
            self,
            "renewer",
            role_id="apxObjectRenewer",
            title="APX object renewer",
            description="Changes what is said of an object, not the object",
            permissions=["storage.objects.update"],
        )

    def _registry(self, region: Region, key: KmsCryptoKey) -> ArtifactRegistryRepository:
        """Make the registry of images, in which a tag means one image for ever."""
        registry = ArtifactRegistryRepository(
            self,
            "registry",
            repository_id="apx",
            location=region.name,
            format="DOCKER",
            kms_key_name=key.id,
            docker_config=ArtifactRegistryRepositoryDockerConfig(immutable_tags=True),
            # The project scans by the API containerscanning; there is no "on" for one registry.
            vulnerability_scanning_config=ArtifactRegistryRepositoryVulnerabilityScanningConfig(
                enablement_config="INHERITED"
            ),
            cleanup_policies=_cleanup(),
        )
        for name, role in REGISTRY_ROLES.items():
            ArtifactRegistryRepositoryIamMember(
                self,
                f"registry-{name}",
                location=registry.location,
                repository=registry.name,
                role=role,
                member=self._identity.accounts[name].member,
            )
        return registry


def _deleted(
    *,
    age: int | None = None,
    days_since_custom_time: int | None = None,
    days_since_noncurrent_time: int | None = None,
    matches_prefix: list[str] | None = None,
) -> StorageBucketLifecycleRule:
    return StorageBucketLifecycleRule(
        action=StorageBucketLifecycleRuleAction(type="Delete"),
        condition=StorageBucketLifecycleRuleCondition(
            age=age,
            days_since_custom_time=days_since_custom_time,
            days_since_noncurrent_time=days_since_noncurrent_time,
            matches_prefix=matches_prefix,
        ),
    )


def _cleanup() -> list[ArtifactRegistryRepositoryCleanupPolicies]:
    """Remove what was never tagged; what has a tag stays, for rollbacks."""
    untagged = ArtifactRegistryRepositoryCleanupPoliciesCondition(
        tag_state="UNTAGGED", older_than=f"{UNTAGGED_IMAGES_DAYS * DAY_S}s"
    )
    recent = ArtifactRegistryRepositoryCleanupPoliciesMostRecentVersions(keep_count=RECENT_IMAGES)
    return [
        ArtifactRegistryRepositoryCleanupPolicies(id="untagged", action="DELETE", condition=untagged),
        ArtifactRegistryRepositoryCleanupPolicies(id="recent", action="KEEP", most_recent_versions=recent),
    ]
