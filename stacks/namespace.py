"""The base of what stands in a cluster: its control plane, and the one namespace of APX."""

from __future__ import annotations

from cdktf_cdktf_provider_google.data_google_client_config import DataGoogleClientConfig
from cdktf_cdktf_provider_kubernetes.namespace_v1 import NamespaceV1, NamespaceV1Metadata
from cdktf_cdktf_provider_kubernetes.provider import KubernetesProvider
from constructs import Construct

from stacks.cluster import Cluster
from stacks.environment import Environment
from stacks.identity import NAMESPACE
from stacks.stack import ApxStack

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
"""Kubernetes refuses a pod that may do more than ours:
https://kubernetes.io/docs/concepts/security/pod-security-standards"""
SET_BY_GKE = [r"^cloud\.google\.com/neg-status$", r"^autopilot\.gke\.io/"]


class NamespaceStack(ApxStack):
    """A stack with a `namespace`; whoever names it by this comes after it."""

    def __init__(self, scope: Construct, environment: Environment, name: str, cluster: Cluster) -> None:
        super().__init__(scope, environment, name)
        # The control plane by its name, which anybody's roots vouch for: no certificate of the cluster's own. The
        # address that the cluster's certificate is for answers to nobody, unless the environment names networks.
        endpoint = cluster.cluster.control_plane_endpoints_config.dns_endpoint_config.endpoint
        KubernetesProvider(
            self,
            "kubernetes",
            host=f"https://{endpoint}",
            token=DataGoogleClientConfig(self, "client").access_token,
            ignore_annotations=SET_BY_GKE,
        )
        made = NamespaceV1(self, "namespace", metadata=NamespaceV1Metadata(name=NAMESPACE, labels=RESTRICTED))
        self.namespace = str(made.metadata.name)
