"""All stacks, those of the workloads on stand-ins for the clusters and the data.

Imported after `stacks`, which sets the providers' imports up.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from cdktf import App
from cdktf_cdktf_provider_google.container_cluster import ContainerCluster
from cdktf_cdktf_provider_google.memorystore_instance import (
    MemorystoreInstance,
    MemorystoreInstanceDesiredAutoCreatedEndpoints,
)

from stacks.app import run_workloads
from stacks.encryption import Encryption
from stacks.environment import Environment, Region, read_environment
from stacks.identity import Identity
from stacks.network import Network


class StandIn:
    """A region's cluster and its Valkey, of which only what others ask for is right."""

    def __init__(self, network: Network, environment: Environment, region: Region) -> None:
        self.cluster = ContainerCluster(
            network, f"cluster-{region.name}", name=f"apx-{region.name}", location=region.name
        )
        endpoint = MemorystoreInstanceDesiredAutoCreatedEndpoints(
            network=network.network.id, project_id=environment.project
        )
        self.valkey = MemorystoreInstance(
            network,
            f"valkey-{region.name}",
            instance_id=f"apx-{region.name}",
            location=region.name,
            shard_count=1,
            desired_auto_created_endpoints=[endpoint],
        )


class Data:
    def __init__(self, stand_ins: Mapping[str, StandIn]) -> None:
        self.valkeys = {name: one.valkey for name, one in stand_ins.items()}

    def valkey_address(self, region: Region) -> str:
        connection = self.valkeys[region.name].endpoints.get(0).connections.get(0)
        return str(connection.psc_auto_connection.get(0).ip_address)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--environment", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    environment = read_environment(given.environment)
    app = App(outdir=str(given.out))
    identity = Identity(app, environment)
    Encryption(app, environment, identity)
    network = Network(app, environment)
    stand_ins = {region.name: StandIn(network, environment, region) for region in environment.regions}
    run_workloads(app, environment, identity, stand_ins, Data(stand_ins), products=("orders", "exports"))
    app.synth()
