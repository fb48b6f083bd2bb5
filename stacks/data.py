"""What keeps data: in each region a Firestore database and a Valkey; secrets; the table of usage."""

from __future__ import annotations

from collections.abc import Mapping

from cdktf_cdktf_provider_google.bigquery_table_iam_member import BigqueryTableIamMember
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember, ProjectIamMemberCondition
from cdktf_cdktf_provider_google.secret_manager_secret import (
    SecretManagerSecret,
    SecretManagerSecretReplication,
    SecretManagerSecretReplicationUserManaged,
    SecretManagerSecretReplicationUserManagedReplicas,
    SecretManagerSecretReplicationUserManagedReplicasCustomerManagedEncryption,
)
from cdktf_cdktf_provider_google.secret_manager_secret_iam_member import SecretManagerSecretIamMember
from constructs import Construct

from apx.backends.gcp import names
from stacks.encryption import Encryption
from stacks.environment import Environment, Region
from stacks.firestore import firestore
from stacks.identity import Identity
from stacks.network import Network
from stacks.stack import ApxStack
from stacks.usage import usage_table
from stacks.valkey import valkey

RECEIPTS, ARMS, ADMIN_TOKEN, CONTROL_TOKENS, WEBHOOKS = names.SECRETS
SECRET_READERS: Mapping[str, tuple[str, ...]] = {
    RECEIPTS: ("router", "control"),
    ARMS: ("router",),
    ADMIN_TOKEN: ("control",),
    CONTROL_TOKENS: ("control",),
    WEBHOOKS: ("worker", "control"),
}
"""Who mints, verifies or seals under which secret (`apx/bootstrap.py`)."""
DATABASE_ROLES: Mapping[str, str] = dict.fromkeys(("router", "worker", "monitor", "control"), "roles/datastore.user")
VALKEY_ROLE = "roles/memorystore.dbConnectionUser"
DESTROYED_FOR_GOOD_S = 7 * 86_400
"""A version of a secret that is destroyed by mistake can be had back so long."""


class Data(ApxStack):
    """`databases` and `valkeys` by the region's name, `secrets` by their names of `names.SECRETS`, `usage`."""

    def __init__(
        self, scope: Construct, environment: Environment, identity: Identity, network: Network, encryption: Encryption
    ) -> None:
        super().__init__(scope, environment, "data")
        self._identity = identity
        keys, regions = encryption.data_keys, environment.regions
        self.databases = {region.name: firestore(self, region, keys[region.name]) for region in regions}
        self.valkeys = {region.name: valkey(self, region, network, keys[region.name]) for region in regions}
        self.secrets = {name: self._secret(name, encryption) for name in names.SECRETS}
        self.usage = usage_table(self, keys[environment.home.name])
        self._grant_usage("control")
        for workload, role in DATABASE_ROLES.items():
            self._grant_valkey(workload)
            for region in regions:
                self._grant_database(workload, role, region)

    def valkey_address(self, region: Region) -> str:
        """Return the address that a region's Valkey got, as Terraform will know it."""
        connection = self.valkeys[region.name].endpoints.get(0).connections.get(0)
        return str(connection.psc_auto_connection.get(0).ip_address)

    def _secret(self, name: str, encryption: Encryption) -> SecretManagerSecret:
        """Make a secret without a value: versions are added by hand, so that no state ever holds one."""
        secret = SecretManagerSecret(
            self,
            f"secret-{name}",
            secret_id=names.secret(name),
            replication=SecretManagerSecretReplication(
                user_managed=SecretManagerSecretReplicationUserManaged(
                    replicas=[_replica(region, encryption) for region in self.environment.regions]
                )
            ),
            version_destroy_ttl=f"{DESTROYED_FOR_GOOD_S}s",
            deletion_protection=self.environment.data.delete_protection,
        )
        for workload in SECRET_READERS[name]:
            SecretManagerSecretIamMember(
                self,
                f"secret-{name}-{workload}",
                secret_id=secret.secret_id,
                role="roles/secretmanager.secretAccessor",
                member=self._identity.accounts[workload].member,
            )
        return secret

    def _grant_database(self, workload: str, role: str, region: Region) -> None:
        """Let a workload use one region's database; a role for each, as a condition takes twelve operators at most."""
        name = f"projects/{self.environment.project}/databases/{names.database(region.name)}"
        ProjectIamMember(
            self,
            f"database-{region.name}-{workload}",
            project=self.environment.project,
            role=role,
            member=self._identity.accounts[workload].member,
            condition=ProjectIamMemberCondition(
                title=f"database-{region.name}",
                expression=f'resource.name == "{name}" || resource.name.startsWith("{name}/")',
            ),
        )

    def _grant_valkey(self, workload: str) -> None:
        """Let a workload connect to Valkey; the project has no instances but APX's."""
        ProjectIamMember(
            self,
            f"valkey-{workload}",
            project=self.environment.project,
            role=VALKEY_ROLE,
            member=self._identity.accounts[workload].member,
        )

    def _grant_usage(self, workload: str) -> None:
        """Let a workload ask the table of usage: read it, and run what it asks."""
        member = self._identity.accounts[workload].member
        BigqueryTableIamMember(
            self,
            f"usage-{workload}",
            dataset_id=self.usage.dataset_id,
            table_id=self.usage.table_id,
            role="roles/bigquery.dataViewer",
            member=member,
        )
        ProjectIamMember(
            self,
            f"usage-jobs-{workload}",
            project=self.environment.project,
            role="roles/bigquery.jobUser",
            member=member,
        )


def _replica(region: Region, encryption: Encryption) -> SecretManagerSecretReplicationUserManagedReplicas:
    return SecretManagerSecretReplicationUserManagedReplicas(
        location=region.name,
        customer_managed_encryption=SecretManagerSecretReplicationUserManagedReplicasCustomerManagedEncryption(
            kms_key_name=encryption.data_keys[region.name].id
        ),
    )
