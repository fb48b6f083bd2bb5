"""All stacks of an environment, in the order in which they are deployed: each may use those before it."""

from __future__ import annotations

from pathlib import Path

from cdktf import App

from stacks.edge import Edge
from stacks.encryption import Encryption
from stacks.environment import Environment
from stacks.identity import Identity
from stacks.network import Network
from stacks.observability import Observability


def synthesise(environment: Environment, out: Path) -> None:
    """Write the Terraform JSON of every stack to `out/stacks/<stack>/cdk.tf.json`."""
    app = App(outdir=str(out))
    identity = Identity(app, environment)
    Encryption(app, environment, identity)
    network = Network(app, environment)
    edge = Edge(app, environment, identity, network)
    Observability(app, environment, edge)
    app.synth()
