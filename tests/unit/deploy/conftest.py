from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx.clock import ManualClock
from stacks.deploy.cloud import Cloud
from stacks.deploy.order import Stack, read_stacks
from stacks.deploy.session import Session
from stacks.environment import FOLDER, read_environment
from tests.unit.deploy.recorded import Recorded, Site, Typist

KEPT = {"resource": {"google_kms_crypto_key": {"data": {"lifecycle": {"prevent_destroy": True}}}}}
POD = {
    "metadata": {"name": "worker"},
    "spec": {"template": {"spec": {"container": [{"resources": {"requests": {"cpu": "500m"}}}] * 2}}},
}
SCALED = {"spec": {"scale_target_ref": {"name": "worker"}, "min_replicas": 2, "max_replicas": 50}}
AFTER = {
    "identity": (),
    "network": (),
    "encryption": ("identity",),
    "data": ("encryption", "network"),
    "workloads-us-central1": ("data",),
    "edge": ("workloads-us-central1",),
}
DOCUMENTS: dict[str, Any] = {
    "identity": {"resource": {"google_project_service": {"api-pubsub": {"service": "pubsub.googleapis.com"}}}},
    "encryption": KEPT,
    "workloads-us-central1": {
        "resource": {
            "kubernetes_deployment_v1": {"worker": POD},
            "kubernetes_horizontal_pod_autoscaler_v2": {"worker": SCALED},
        }
    },
}


@pytest.fixture(autouse=True)
def out(tmp_path: Path) -> Path:
    """Return a folder of synthesised stacks: those of `AFTER`."""
    root = tmp_path / "cdktf.out" / "dev"
    stacks = {}
    for name, after in AFTER.items():
        folder = root / "stacks" / f"dev-{name}"
        folder.mkdir(parents=True)
        (folder / "cdk.tf.json").write_bytes(msgspec.json.encode(DOCUMENTS.get(name, {})))
        needed = [f"dev-{one}" for one in after]
        stacks[f"dev-{name}"] = {"workingDirectory": f"stacks/dev-{name}", "dependencies": needed}
    (root / "manifest.json").write_bytes(msgspec.json.encode({"stacks": stacks}))
    return root


@pytest.fixture
def stacks(out: Path) -> list[Stack]:
    return read_stacks(out, "dev")


class Bench:
    """A session with everything around it recorded."""

    def __init__(self, out: Path, plans: Path) -> None:
        self.commands, self.person, self.site, self.clock = Recorded(), Typist(), Site(), ManualClock()
        self._out, self._plans = out, plans
        self.environment = read_environment(FOLDER / "dev.yaml")

    @property
    def cloud(self) -> Cloud:
        return Cloud(self.environment, self.commands, self.site)

    @property
    def session(self) -> Session:
        return Session(
            cloud=self.cloud,
            person=self.person,
            clock=self.clock,
            pause=self.clock.advance,
            out=self._out,
            plans=self._plans,
        )


@pytest.fixture
def bench(out: Path, tmp_path: Path) -> Bench:
    plans = tmp_path / "plans"
    plans.mkdir()
    made = Bench(out, plans)
    made.site.answers = {}
    return made
