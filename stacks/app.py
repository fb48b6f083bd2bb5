"""All stacks of an environment, in the order in which they are deployed: each may use those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdktf import App

from stacks.encryption import Encryption
from stacks.environment import Environment
from stacks.identity import Identity
from stacks.namespace import HasCluster
from stacks.network import Network
from stacks.workloads import HasStores, Workloads


def synthesise(environment: Environment, out: Path) -> None:
    """Write the Terraform JSON of every stack to `out/stacks/<stack>/cdk.tf.json`."""
    app = App(outdir=str(out))
    identity = Identity(app, environment)
    Encryption(app, environment, identity)
    Network(app, environment)
    app.synth()


def run_workloads(
    app: App,
    environment: Environment,
    identity: Identity,
    clusters: Mapping[str, HasCluster],
    data: HasStores,
    *,
    products: Sequence[str],
) -> None:
    """Run everything in the cluster of each region, by its name: after the stacks of the clusters and of the data.

    `products` are the asynchronous ones.
    """
    for region in environment.regions:
        Workloads(app, environment, region, identity, clusters[region.name], data, products=products)
