"""One call of `./dev deploy`, `./dev diff` or `./dev destroy`, with all that it works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from apx.clock import Clock
from apx.errors import Conflict, Misconfigured
from stacks.deploy.approval import Approval
from stacks.deploy.bootstrap import bootstrap
from stacks.deploy.cloud import Cloud, last_line
from stacks.deploy.diff import Difference, difference
from stacks.deploy.images import ROOT, Builder, checked
from stacks.deploy.order import Stack, needed_by, read_stacks, standing_on, waves
from stacks.deploy.person import Person
from stacks.deploy.preflight import preflight
from stacks.deploy.run import Run
from stacks.deploy.secret_versions import ensure_versions
from stacks.deploy.smoke import Smoke
from stacks.deploy.state import locks
from stacks.deploy.terraform import NO_IMAGE, Terraform

PRODUCTION = "prod"
STACKS = ROOT / ".venv-stacks" / "bin" / "python"


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Works on one environment; `plans` is an empty folder that goes with it."""

    cloud: Cloud
    person: Person
    clock: Clock
    pause: Callable[[float], None]
    out: Path
    plans: Path

    def check(self, stacks: Sequence[Stack], *, builds: bool, bootstrapped: bool = False) -> None:
        """Look at everything, and say what was found. Raises `Misconfigured` with all that is wrong."""
        found = preflight(self.cloud, stacks, builds=builds, bootstrapped=bootstrapped)
        if found.wrong:
            raise Misconfigured(str(found))
        self.person.say(str(found))

    def deploy(self, approval: Approval, *, image: str, build: bool, base: bool, first: bool) -> bool:
        """Bring the environment to the cloud and try it; say whether all went well."""
        if not (image or build or base):
            raise Misconfigured(
                "The workloads need an image: --image REPOSITORY@sha256:…, --build to build and push this commit's, or "
                "--base to stop before them."
            )
        terraform = self._terraform(checked(image) if image else NO_IMAGE)
        stacks = self.synthesise()
        if first:
            bootstrap(self.cloud, stacks, self.person)
        self.check(stacks, builds=build, bootstrapped=first)

        def gate(wave: Sequence[Stack]) -> None:
            if not any(stack.needs_image for stack in wave):
                return
            ensure_versions(self.cloud, self.person, make=first)
            if build:
                terraform.with_image(Builder(self.cloud).build())

        if base:
            late = standing_on(stacks, [stack for stack in stacks if stack.needs_image])
            stacks = [stack for stack in stacks if stack.name not in late]
        run = Run(
            terraform=terraform,
            person=self.person,
            approval=approval,
            gate=gate,
            locks=lambda s: locks(self.cloud, [s]),
        )
        return run.go(waves(stacks)) and (base or self._smoke(terraform, stacks))

    def image(self) -> str:
        """Return this commit's image, built, pushed and attested. Raises `Misconfigured`, `Unavailable`."""
        return Builder(self.cloud).build()

    def diff(self, *, image: str, drift: bool) -> Difference:
        """Return what a deployment would do, or with `drift` what others did."""
        stacks = self.synthesise()
        terraform = self._terraform(checked(image) if image else NO_IMAGE)
        return difference(terraform, waves(stacks), image=image, drift=drift)

    def destroy(self, approval: Approval) -> bool:
        """Take away what can be had back; keys, and what they stand on, stay. Raises `Conflict` where it may not."""
        environment = self.cloud.environment
        if environment.name == PRODUCTION or environment.data.delete_protection:
            why = "it is production" if environment.name == PRODUCTION else "its data has `delete_protection`"
            raise Conflict(f"{environment.name} is not destroyed from here: {why}.")
        stacks = self.synthesise()
        self.check(stacks, builds=False, bootstrapped=True)
        kept = needed_by(stacks, [stack for stack in stacks if stack.keeps])
        self.person.say(f"These stay, as keys can never be had back: {', '.join(sorted(kept))}")
        run = Run(
            terraform=self._terraform(NO_IMAGE),
            person=self.person,
            approval=approval,
            gate=lambda _: None,
            locks=lambda stack: locks(self.cloud, [stack]),
            options=("-destroy",),
        )
        every = [[stack for stack in wave if stack.name not in kept] for wave in reversed(waves(stacks))]
        return run.go([wave for wave in every if wave])

    def synthesise(self) -> list[Stack]:
        """Write the stacks' Terraform JSON, and read what there is."""
        name = self.cloud.environment.name
        self.out.mkdir(parents=True, exist_ok=True)
        argv = (str(STACKS), "-m", "stacks", "--environment", name, "--out", str(self.out))
        done = self.cloud.commands.run(argv, cwd=ROOT)
        if not done.ok:
            raise Misconfigured(f"The stacks of {name} could not be synthesised: {last_line(done)}")
        return read_stacks(self.out, name)

    def _terraform(self, image: str) -> Terraform:
        return Terraform(self.cloud.commands, self.plans, image=image, cache=self.out.parent / "plugins")

    def _smoke(self, terraform: Terraform, stacks: Sequence[Stack]) -> bool:
        (edge,) = (stack for stack in stacks if stack.short == "edge")
        tried = Smoke(self.cloud, self.clock, self.pause, terraform.outputs(edge)).run()
        self.person.say("\n".join(map(str, tried)))
        return all(one.ok for one in tried)
