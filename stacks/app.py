"""All stacks of an environment, in the order in which they are deployed: each may use those before it."""

from __future__ import annotations

from pathlib import Path

from cdktf import App

from apx.catalog.load import load_catalog
from stacks.artifacts import Artifacts
from stacks.cluster import Cluster
from stacks.data import Data
from stacks.edge import Edge
from stacks.encryption import Encryption
from stacks.environment import Environment
from stacks.identity import Identity
from stacks.messaging import Messaging
from stacks.network import Network
from stacks.observability import Observability
from stacks.provenance import Provenance
from stacks.workloads import Workloads

GITOPS = Path(__file__).resolve().parents[1] / "gitops"


def synthesise(environment: Environment, out: Path) -> None:
    """Write the Terraform JSON of every stack to `out/stacks/<stack>/cdk.tf.json`."""
    app = App(outdir=str(out), stack_traces=False)
    identity = Identity(app, environment)
    encryption = Encryption(app, environment, identity)
    network = Network(app, environment)
    data = Data(app, environment, identity, network, encryption)
    artifacts = Artifacts(app, environment, identity, encryption)
    catalog = load_catalog(GITOPS)
    messaging = Messaging(app, environment, identity, encryption, data=data, catalog=catalog)
    provenance = Provenance(app, environment, identity)
    edge = Edge(app, environment, identity, network)
    for region in environment.regions:
        cluster = Cluster(app, environment, region, identity, network, encryption)
        workloads = Workloads(app, environment, region, identity, cluster, data, catalog=catalog)
        for used in (artifacts, messaging, provenance):
            workloads.add_dependency(used)  # by name: buckets, topics, and the policy that lets pods in
        edge.add_dependency(workloads)  # GKE makes the groups of endpoints for the Services there
    Observability(app, environment, edge)
    app.synth()
