"""Who may do what: one service account for each role, and the way in for GitHub's workflows, without keys."""

from __future__ import annotations

from collections.abc import Mapping

from cdktf_cdktf_provider_google.iam_workload_identity_pool import IamWorkloadIdentityPool
from cdktf_cdktf_provider_google.iam_workload_identity_pool_provider import (
    IamWorkloadIdentityPoolProvider,
    IamWorkloadIdentityPoolProviderOidc,
)
from cdktf_cdktf_provider_google.project_iam_audit_config import (
    ProjectIamAuditConfig,
    ProjectIamAuditConfigAuditLogConfig,
)
from cdktf_cdktf_provider_google.project_iam_custom_role import ProjectIamCustomRole
from cdktf_cdktf_provider_google.project_iam_member import ProjectIamMember
from cdktf_cdktf_provider_google.project_service import ProjectService
from cdktf_cdktf_provider_google.service_account import ServiceAccount
from cdktf_cdktf_provider_google.service_account_iam_member import ServiceAccountIamMember
from constructs import Construct

from stacks.environment import Environment
from stacks.stack import ApxStack, suppress

APIS = (
    *("artifactregistry", "bigquery", "binaryauthorization", "certificatemanager", "cloudkms", "cloudtrace", "compute"),
    *("container", "containeranalysis", "containerscanning", "firestore", "gkebackup", "iam", "iamcredentials", "iap"),
    *("logging", "memorystore", "monitoring", "networkconnectivity", "pubsub"),
    *("secretmanager", "storage", "sts"),
)
NAMESPACE = "apx"
WORKLOADS: Mapping[str, str] = {
    "router": "admits requests and answers for them; beside it Envoy, and what renders its files",
    "worker": "carries requests out",
    "monitor": "judges and moves rollouts",
    "control": "serves the control API",
}
"""The accounts that pods run as, each under a Kubernetes service account of the same name.

A pod has one account. Envoy and the router share a Unix socket, so they share a pod, and the router's account: there is
none for the edge.
"""
NODES = "nodes"
WORKFLOWS: Mapping[str, tuple[str, str]] = {
    "planner": ("ref:refs/heads/main", "reads, to say what a deployment would do, and what others changed"),
    "builder": ("ref:refs/heads/main", "builds, pushes and attests images"),
    "deployer": ("environment", "applies the stacks"),
    "promoter": ("environment", "signs releases and starts their rollouts"),
}
"""The accounts of workflows: what of GitHub's claims lets them in, and what for."""

PROJECT_ROLES: Mapping[str, tuple[str, ...]] = {
    "router": ("roles/cloudtrace.agent", "roles/monitoring.metricWriter", "roles/logging.logWriter"),
    "worker": ("roles/cloudtrace.agent", "roles/monitoring.metricWriter", "roles/logging.logWriter"),
    "monitor": ("roles/monitoring.viewer", "roles/monitoring.metricWriter", "roles/logging.logWriter"),
    "control": ("roles/monitoring.viewer", "roles/monitoring.metricWriter", "roles/logging.logWriter"),
    NODES: ("roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"),
    "planner": (
        *("roles/artifactregistry.reader", "roles/bigquery.metadataViewer", "roles/binaryauthorization.policyViewer"),
        *("roles/certificatemanager.viewer", "roles/cloudkms.viewer", "roles/compute.viewer"),
        *("roles/container.clusterViewer", "roles/gkebackup.viewer"),
        *("roles/iam.securityReviewer", "roles/logging.viewer", "roles/memorystore.viewer", "roles/monitoring.viewer"),
        *("roles/pubsub.viewer", "roles/secretmanager.viewer", "roles/serviceusage.serviceUsageViewer"),
        "roles/storage.bucketViewer",
    ),
    "builder": (
        *("roles/binaryauthorization.attestorsViewer", "roles/containeranalysis.notes.attacher"),
        "roles/containeranalysis.occurrences.editor",
    ),
    "deployer": (
        *("roles/artifactregistry.admin", "roles/bigquery.admin", "roles/binaryauthorization.policyEditor"),
        *("roles/binaryauthorization.attestorsEditor", "roles/containeranalysis.editor"),
        *("roles/certificatemanager.owner", "roles/cloudkms.admin", "roles/compute.admin", "roles/container.admin"),
        *("roles/datastore.owner", "roles/gkebackup.admin", "roles/iam.serviceAccountAdmin", "roles/iap.admin"),
        *("roles/iam.workloadIdentityPoolAdmin", "roles/logging.configWriter"),
        *("roles/memorystore.admin", "roles/monitoring.admin", "roles/networkconnectivity.consumerNetworkAdmin"),
        *("roles/pubsub.admin", "roles/resourcemanager.projectIamAdmin", "roles/secretmanager.admin"),
        *("roles/iam.roleAdmin", "roles/serviceusage.serviceUsageAdmin", "roles/storage.admin"),
    ),
}
"""Roles on the project. What a workload needs of one resource is granted by the stack that has the resource."""


class Identity(ApxStack):
    """`accounts` by role: the workloads', the nodes' and the workflows'."""

    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(scope, environment, "identity")
        for api in APIS:
            ProjectService(self, f"api-{api}", service=f"{api}.googleapis.com", disable_on_destroy=False)
        purposes = {
            **WORKLOADS,
            NODES: "the clusters' machines",
            **{name: purpose for name, (_, purpose) in WORKFLOWS.items()},
        }
        self.accounts = {name: self._account(name, purpose) for name, purpose in purposes.items()}
        for name, roles in PROJECT_ROLES.items():
            for role in roles:
                self._grant(name, role)
        self._let_databases_be_planned()
        self._let_promoter_sign()
        self._let_nodes_be_made()
        self._github()
        self._audit()

    def _account(self, name: str, purpose: str) -> ServiceAccount:
        return ServiceAccount(
            self,
            f"account-{name}",
            account_id=f"apx-{name}",
            display_name=f"APX {name}",
            description=f"{name}: {purpose}",
        )

    def _grant(self, name: str, role: str) -> None:
        granted = ProjectIamMember(
            self,
            f"{name}-{role.removeprefix('roles/').replace('.', '-').lower()}",
            project=self.environment.project,
            role=role,
            member=self.accounts[name].member,
        )
        if role == "roles/iam.serviceAccountAdmin":
            suppress(granted, "CKV_GCP_49", "Who applies this stack makes the accounts; only a deployment of main may.")

    def _let_databases_be_planned(self) -> None:
        """Let the planner see how databases are set up; Google's own roles would show it what is in them."""
        role = ProjectIamCustomRole(
            self,
            "database-settings",
            role_id="apxDatabaseSettings",
            title="APX: see how Firestore is set up",
            permissions=[
                *("datastore.databases.get", "datastore.databases.getMetadata", "datastore.databases.list"),
                *("datastore.indexes.get", "datastore.indexes.list", "datastore.operations.get"),
                *("datastore.backupSchedules.get", "datastore.backupSchedules.list"),
            ],
        )
        ProjectIamMember(
            self,
            "planner-database-settings",
            project=self.environment.project,
            role=role.name,
            member=self.accounts["planner"].member,
        )

    def _let_promoter_sign(self) -> None:
        """Let the promoter sign as itself: a token of its own making is what comes through the identity-aware proxy."""
        ServiceAccountIamMember(
            self,
            "promoter-itself",
            service_account_id=self.accounts["promoter"].name,
            role="roles/iam.serviceAccountTokenCreator",
            member=self.accounts["promoter"].member,
        )

    def _let_nodes_be_made(self) -> None:
        """Let the deployer hand the nodes' account to a cluster, and no other account to anything."""
        ServiceAccountIamMember(
            self,
            "deployer-nodes",
            service_account_id=self.accounts[NODES].name,
            role="roles/iam.serviceAccountUser",
            member=self.accounts["deployer"].member,
        )

    def _github(self) -> None:
        """Let in the tokens of one repository's workflows: main to read, protected environments to write."""
        repository = self.environment.github_repository
        # The narrowest of GitHub's claims: the main branch, or the environment that the job waits for, which GitHub
        # lets only main deploy to. A pull request gets nothing: what it would do is said from the synthesis alone.
        subjects = {
            name: f"repo:{repository}:" + (f"environment:{self.environment.name}" if claim == "environment" else claim)
            for name, (claim, _) in WORKFLOWS.items()
        }
        pool = IamWorkloadIdentityPool(
            self, "pool", workload_identity_pool_id="github", display_name="GitHub Actions of APX"
        )
        IamWorkloadIdentityPoolProvider(
            self,
            "provider",
            workload_identity_pool_id=pool.workload_identity_pool_id,
            workload_identity_pool_provider_id="github",
            oidc=IamWorkloadIdentityPoolProviderOidc(issuer_uri="https://token.actions.githubusercontent.com"),
            attribute_mapping={
                "google.subject": "assertion.sub",
                "attribute.repository": "assertion.repository",
                "attribute.ref": "assertion.ref",
            },
            attribute_condition=" || ".join(
                f'assertion.sub == "{subject}"' for subject in sorted({*subjects.values()})
            ),
        )
        for name, subject in subjects.items():
            ServiceAccountIamMember(
                self,
                f"workflow-{name}",
                service_account_id=self.accounts[name].name,
                role="roles/iam.workloadIdentityUser",
                member=f"principal://iam.googleapis.com/{pool.name}/subject/{subject}",
            )

    def _audit(self) -> None:
        """Write down who read and wrote data, beside what Google writes down anyway."""
        ProjectIamAuditConfig(
            self,
            "audit",
            project=self.environment.project,
            service="allServices",
            audit_log_config=[
                ProjectIamAuditConfigAuditLogConfig(log_type=kind) for kind in ("ADMIN_READ", "DATA_READ", "DATA_WRITE")
            ],
        )
