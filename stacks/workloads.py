"""What runs in a region's cluster: the edge with its routers, workers, monitors, the control API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cdktf import Fn, TerraformVariable, TerraformVariableValidationConfig
from cdktf_cdktf_provider_google.data_google_project import DataGoogleProject
from cdktf_cdktf_provider_google.memorystore_instance import MemorystoreInstance
from cdktf_cdktf_provider_kubernetes.config_map_v1 import ConfigMapV1, ConfigMapV1Metadata
from cdktf_cdktf_provider_kubernetes.manifest import Manifest
from cdktf_cdktf_provider_kubernetes.service_account_v1 import ServiceAccountV1, ServiceAccountV1Metadata
from cdktf_cdktf_provider_kubernetes.service_v1 import (
    ServiceV1,
    ServiceV1Metadata,
    ServiceV1Spec,
    ServiceV1SpecPort,
)
from constructs import Construct

from apx.backends.gcp import names
from apx.catalog.model import Catalog
from services.worker.settings import WorkerSettings
from stacks.cluster import Cluster
from stacks.data import Data
from stacks.deployments import CA_FOLDER, VALKEY_CA, VALKEY_CA_FILE, deployment
from stacks.edge import CONTROL_NEG, EDGE_NEG
from stacks.environment import IMAGE, Environment, Region
from stacks.identity import WORKLOADS, Identity
from stacks.namespace import NamespaceStack
from stacks.network import CONTROL_PORT, EDGE_PORT
from stacks.network_policies import VALKEY_PORT, network_policies
from stacks.pods import Pod
from stacks.processes import People, pods
from stacks.scaling import autoscaler, by_backlog, by_processor
from stacks.variables import tell

PUBLISHED = {"edge": (EDGE_PORT, EDGE_NEG), "control": (CONTROL_PORT, CONTROL_NEG)}
"""What load balancers reach, each as a network endpoint group of every zone."""
SCRAPED_EVERY = "30s"


class Workloads(NamespaceStack):
    """Every pod of a region, under one image; the workers take the requests of the catalog's asynchronous products."""

    def __init__(  # noqa: PLR0917 -- it stands on three stacks
        self,
        scope: Construct,
        environment: Environment,
        region: Region,
        identity: Identity,
        cluster: Cluster,
        data: Data,
        *,
        catalog: Catalog,
    ) -> None:
        super().__init__(scope, environment, f"workloads-{region.name}", cluster)
        self.region = region
        for name in WORKLOADS:
            self._account(name, identity)
        self._trust(data.valkeys[region.name])
        self.pods = pods(environment, region, valkey_url(data.valkey_address(region)), self._people(identity))
        closed = network_policies(self, region, self.pods)
        image = self._image()
        for pod in self.pods:
            self._secrets(pod)
            self._measure(pod)
            deployment(self, pod, image, after=closed)
        for name, (port, group) in PUBLISHED.items():
            self._publish(name, port, group)
        self._scale(catalog)

    def _people(self, identity: Identity) -> People:
        """Say who may do what at the control API: those of the environment, and the workflow that promotes."""
        number = DataGoogleProject(self, "project", project_id=self.environment.project).number
        operators = (*self.environment.control_operators, identity.accounts["promoter"].email)
        return People(str(number), self.environment.control_admins, operators, self.environment.control_viewers)

    def _account(self, name: str, identity: Identity) -> None:
        """Make the account by which pods act as the Google account of its name."""
        annotations = {"iam.gke.io/gcp-service-account": identity.accounts[name].email}
        ServiceAccountV1(
            self,
            f"account-{name}",
            metadata=ServiceAccountV1Metadata(name=name, namespace=self.namespace, annotations=annotations),
            automount_service_account_token=False,
        )

    def _trust(self, valkey: MemorystoreInstance) -> None:
        """Hand pods the certificates that the region's Valkey is known by."""
        certificates = valkey.managed_server_ca.get(0).ca_certs.get(0).certificates
        ConfigMapV1(
            self,
            VALKEY_CA,
            metadata=ConfigMapV1Metadata(name=VALKEY_CA, namespace=self.namespace),
            data={VALKEY_CA_FILE: Fn.join("\n", certificates)},
        )

    def _image(self) -> str:
        """Ask for the image at each deployment; only by its digest, which says what was tested and signed."""
        image = TerraformVariable(
            self,
            "image",
            type="string",
            description="The image of every process, by digest: <repository>@sha256:<digest>",
            validation=[
                TerraformVariableValidationConfig(
                    condition=f"${{can(regex({json.dumps(IMAGE)}, var.image))}}",
                    error_message="Name the image by its digest: <repository>@sha256:<64 hexadecimal digits>.",
                )
            ],
        )
        return str(image.string_value)

    def _secrets(self, pod: Pod) -> None:
        """Mount a pod's secrets from Secret Manager, as files: no copy of them is kept in the cluster."""
        if not pod.secrets:
            return
        listed = [
            {
                "resourceName": f"projects/{self.environment.project}/secrets/{names.secret(name)}/versions/latest",
                "path": name,
            }
            for name in pod.secrets
        ]
        self._manifest(
            f"secrets-{pod.name}",
            pod.name,
            ("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass"),
            {"provider": "gke", "parameters": {"secrets": json.dumps(listed)}},  # read as YAML, which JSON is
        )

    def _measure(self, pod: Pod) -> None:
        """Have managed Prometheus collect the metrics of each of a pod's processes that has any."""
        endpoints = [
            {"port": process.port_name, "interval": SCRAPED_EVERY, "path": "/metrics"}
            for process in pod.processes
            if process.metrics
        ]
        self._manifest(
            f"metrics-{pod.name}",
            pod.name,
            ("monitoring.googleapis.com/v1", "PodMonitoring"),
            {"selector": {"matchLabels": pod.labels}, "endpoints": endpoints},
        )

    def _manifest(self, id_: str, name: str, kind: tuple[str, str], spec: Mapping[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        Manifest(self, id_, manifest={"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec})

    def _publish(self, name: str, port: int, group: str) -> None:
        (pod,) = (pod for pod in self.pods if pod.name == name)
        groups = {"exposed_ports": {str(port): {"name": group}}}
        ServiceV1(
            self,
            f"service-{name}",
            metadata=ServiceV1Metadata(
                name=name, namespace=self.namespace, annotations={"cloud.google.com/neg": json.dumps(groups)}
            ),
            spec=ServiceV1Spec(
                type="ClusterIP",
                selector=pod.labels,
                port=[ServiceV1SpecPort(name="http", port=port, target_port="http")],
            ),
        )

    def _scale(self, catalog: Catalog) -> None:
        products = sorted(name for name, product in catalog.products.items() if product.spec.mode == "async")
        subscriptions = [names.requests_topic(self.region.name, product) for product in products]
        bounds = self.environment.workloads
        held = tell(WorkerSettings, {}).settings.concurrency
        autoscaler(self, "edge", bounds.edge, by_processor("envoy", "router"))
        autoscaler(self, "worker", bounds.worker, [*by_processor("worker"), *by_backlog(subscriptions, held)])
        autoscaler(self, "control", bounds.control, by_processor("control"))


def valkey_url(address: str) -> str:
    """Return what processes reach a region's Valkey by, and whom they trust there."""
    return f"rediss://{address}:{VALKEY_PORT}?ssl_ca_certs={CA_FOLDER}/{VALKEY_CA_FILE}"
