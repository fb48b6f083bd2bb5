"""The stacks as Terraform would read them: synthesised once for each environment and number of regions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import yaml

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-stacks" / "bin" / "python"
ENVIRONMENTS = ("dev", "staging", "prod")
MORE_REGIONS = (
    {"name": "europe-west1", "number": 1, "residency": "eu", "zones": ["b", "c", "d"]},
    {"name": "us-east4", "number": 2, "residency": "us"},
)
Body = dict[str, Any]
Changes = Mapping[str, Mapping[str, Any]]
"""Settings by section of the environment: `{"cluster": {"mode": "standard"}}`."""


class Resource(msgspec.Struct, frozen=True):
    """One resource (or data source) of one stack."""

    stack: str
    """Without the environment: `network`, `cluster-us-central1`."""
    type: str
    name: str
    body: Body

    @property
    def address(self) -> str:
        return f"{self.stack}: {self.type}.{self.name}"


class Plan:
    """Everything that one environment would have."""

    def __init__(self, environment: str, folder: Path) -> None:
        self.environment = environment
        self.folder = folder

    @cached_property
    def stacks(self) -> dict[str, Body]:
        found = sorted(self.folder.glob("stacks/*/cdk.tf.json"))
        return {path.parent.name.removeprefix(f"{self.environment}-"): json.loads(path.read_text()) for path in found}

    def resources(self, *types: str) -> list[Resource]:
        """Return the resources of these types, or all."""
        return [one for one in self._all() if not types or one.type in types]

    def resource(self, stack: str, type_: str, name: str) -> Body:
        return next(r.body for r in self.resources(type_) if (r.stack, r.name) == (stack, name))

    def _all(self) -> Iterator[Resource]:
        for stack, document in self.stacks.items():
            for type_, named in document.get("resource", {}).items():
                for name, body in named.items():
                    yield Resource(stack, type_, name, body)


def environment_file(name: str, regions: int, folder: Path, changes: Changes | None = None) -> Path:
    """Write an environment with so many regions, changed in nothing else but what `changes` says."""
    source = ROOT / "stacks" / "environments" / f"{name}.yaml"
    modeline = source.read_text().partition("\n")[0]
    environment = yaml.safe_load(source.read_text())
    environment["regions"] = [*environment["regions"][:1], *MORE_REGIONS][:regions]
    for section, settings in (changes or {}).items():
        environment[section] = {**environment.get(section, {}), **settings}
    path = folder / f"{name}.yaml"
    path.write_text(f"{modeline}\n{yaml.safe_dump(environment)}")
    return path


def synthesise(name: str, regions: int, folder: Path, changes: Changes | None = None) -> Plan:
    """Synthesise as `./dev synth` does, in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = environment_file(name, regions, folder, changes)
    command = [str(PYTHON), "-m", "stacks", "--environment", str(file), "--out", str(folder)]
    # A test that imports `stacks` has said where Node would be in the environment of the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JSII_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Plan(name, folder)
