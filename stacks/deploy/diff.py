"""What a deployment would do now: `./dev diff ENV`. The same as `cdktf diff`, for every stack, in their order.

Terraform itself is run on the synthesised JSON: cdktf-cli, which only wraps it, is archived (docs/adr/0001-cdktf.md).
Exits 0 without differences, 2 with some, 1 when a stack could not be planned. No lock is taken and nothing is written,
so that an account that may only read can do it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stacks.deploy.order import Stack
from stacks.deploy.plan import Plan
from stacks.deploy.terraform import NO_IMAGE, Failed, Terraform

SAME, UNKNOWN, DIFFERENT = 0, 1, 2
READ_ONLY = "-lock=false"


class Difference(msgspec.Struct):
    """What was found, stack by stack."""

    plans: list[Plan] = msgspec.field(default_factory=list)
    waiting: dict[str, str] = msgspec.field(default_factory=dict)
    """Stacks that cannot be planned before another is there, and which."""
    failed: list[str] = msgspec.field(default_factory=list)
    drift: bool = False
    """Only what others did is asked for."""

    @property
    def exit_code(self) -> int:
        """Return 0, 2 or 1, as `terraform plan -detailed-exitcode` does."""
        if self.failed:
            return UNKNOWN
        return DIFFERENT if self.waiting or any(self._told(plan) for plan in self.plans) else SAME

    def __str__(self) -> str:
        return "\n".join([*map(self._said, self.plans), *self._rest()])

    def markdown(self, environment: str) -> str:
        """Return it for a summary or a comment."""
        title = f"## {'Drift' if self.drift else 'Changes'} of `{environment}`"
        told = [plan for plan in self.plans if self._told(plan)]
        quiet = [plan.stack for plan in self.plans if not self._told(plan)]
        blocks = [f"```\n{self._said(plan)}\n```" for plan in told] + [f"- {line}" for line in self._rest()]
        return "\n\n".join([title, *blocks, *([f"Unchanged: {', '.join(quiet)}"] if quiet else [])]) + "\n"

    def _told(self, plan: Plan) -> bool:
        return bool(plan.drift) if self.drift else not plan.empty

    def _said(self, plan: Plan) -> str:
        if not self.drift:
            return str(plan)
        return "\n".join([f"{plan.stack}: {len(plan.drift)} changed by others", *map(str, plan.drift)])

    def _rest(self) -> list[str]:
        return [f"{name}: waits for {base}" for name, base in self.waiting.items()] + self.failed


def difference(terraform: Terraform, waves: Sequence[Sequence[Stack]], *, image: str, drift: bool) -> Difference:
    """Plan every stack that can be; what stands on one that is not deployed yet has to wait."""
    found = Difference(drift=drift)
    options = (READ_ONLY, *(("-refresh-only",) if drift else ()))
    for stack in (stack for wave in waves for stack in wave):
        absent = {plan.stack for plan in found.plans if plan.new} | found.waiting.keys()
        if base := next((name for name in stack.after if name in absent), None):
            found.waiting[stack.name] = base
            continue
        try:
            found.plans.append(_plan(terraform, stack, image, options))
        except Failed as failed:
            found.failed.append(str(failed))
    return found


def _plan(terraform: Terraform, stack: Stack, image: str, options: tuple[str, ...]) -> Plan:
    terraform.initialise(stack)
    if stack.needs_image and not image:
        terraform.with_image(terraform.running_image(stack) or NO_IMAGE)
    return terraform.plan(stack, *options)
