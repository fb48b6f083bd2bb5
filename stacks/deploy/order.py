"""The stacks as they were synthesised, and the order in which they can be brought to the cloud."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from apx.errors import Misconfigured

WORKLOADS = "workloads-"
"""What the names of stacks begin with that need an image, after the environment's name."""


class Stack(msgspec.Struct, frozen=True, dict=True):
    """One state of Terraform, and the folder in which Terraform works on it."""

    name: str
    environment: str
    folder: Path
    after: tuple[str, ...]
    """The stacks that must be there before it."""

    @property
    def short(self) -> str:
        """Return the name without the environment."""
        return self.name.removeprefix(f"{self.environment}-")

    @property
    def needs_image(self) -> bool:
        """Say whether its pods run an image that has to be named."""
        return self.short.startswith(WORKLOADS)

    @property
    def region(self) -> str:
        """Return the region of a stack of workloads."""
        return self.short.removeprefix(WORKLOADS)

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """Return its Terraform JSON."""
        content: Mapping[str, Any] = msgspec.json.decode((self.folder / "cdk.tf.json").read_bytes())
        return content

    def resources(self, type_: str) -> Mapping[str, Any]:
        """Return its resources of a type by their names."""
        found: Mapping[str, Any] = self.document.get("resource", {}).get(type_, {})
        return found

    @property
    def keeps(self) -> bool:
        """Say whether Terraform refuses to destroy any of it."""
        every = [one for type_ in self.document.get("resource", {}).values() for one in type_.values()]
        return any(one.get("lifecycle", {}).get("prevent_destroy") for one in every)


def read_stacks(out: Path, environment: str) -> list[Stack]:
    """Read the manifest of a synthesis. Raises `Misconfigured` where there is none."""
    try:
        listed = msgspec.json.decode((out / "manifest.json").read_bytes())["stacks"]
    except OSError as error:
        raise Misconfigured(
            f"{out}/manifest.json: {error.strerror}: `./dev synth --environment {environment} --out {out}` writes it"
        ) from None
    return [
        Stack(name, environment, out / one["workingDirectory"], tuple(sorted(one["dependencies"])))
        for name, one in sorted(listed.items())
    ]


def waves(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Return the stacks in waves: each needs only waves before it, so that a wave's stacks may go side by side.

    What the given stacks need and is not among them is taken to be there. Raises `Misconfigured` for a circle.
    """
    by_name = {stack.name: stack for stack in stacks}
    sorter = graphlib.TopologicalSorter({s.name: [n for n in s.after if n in by_name] for s in stacks})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise Misconfigured(f"stacks that wait for one another: {' → '.join(error.args[1])}") from None
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found.append([by_name[name] for name in ready])
        sorter.done(*ready)
    return found


def needed_by(stacks: Sequence[Stack], some: Sequence[Stack]) -> set[str]:
    """Return the names of some stacks and of all that these stand on."""
    by_name = {stack.name: stack for stack in stacks}
    found: set[str] = set()
    rest = [stack.name for stack in some]
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += by_name[name].after
    return found


def standing_on(stacks: Sequence[Stack], some: Sequence[Stack]) -> set[str]:
    """Return the names of some stacks and of all that stand on these."""
    bases = {stack.name for stack in some}
    return {stack.name for stack in stacks if needed_by(stacks, [stack]) & bases}
