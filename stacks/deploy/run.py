"""Stacks are planned, shown, approved and applied, a wave at a time; the first failure ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from apx.errors import ApxError
from stacks.deploy.approval import Approval, approve
from stacks.deploy.order import Stack
from stacks.deploy.person import Person
from stacks.deploy.plan import Plan
from stacks.deploy.terraform import Failed, Terraform

SIDE_BY_SIDE = 4
T = TypeVar("T")


class Course(msgspec.Struct):
    """How far a run has come."""

    names: list[str]
    """All stacks, in their order."""
    applied: list[str] = msgspec.field(default_factory=list)
    unchanged: list[str] = msgspec.field(default_factory=list)
    failed: list[str] = msgspec.field(default_factory=list)

    def __str__(self) -> str:
        rest = [n for n in self.names if n not in {*self.applied, *self.unchanged, *self.failed}]
        parts = (
            ("applied", self.applied),
            ("had no changes", self.unchanged),
            ("failed", self.failed),
            ("not reached", rest),
        )
        return "\n".join(f"{word}: {', '.join(names)}" for word, names in parts if names)


Gate = Callable[[Sequence[Stack]], None]
"""Is asked before a wave is planned, and raises an `ApxError` when it may not be."""
Unlocked = Callable[[Stack], Iterable[str]]
"""Looks whether a failed stack is still locked, and says by whom."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What a run works with."""

    terraform: Terraform
    person: Person
    approval: Approval
    gate: Gate
    locks: Unlocked
    options: tuple[str, ...] = ()
    """Of each plan: `-destroy`."""

    def go(self, waves: Sequence[Sequence[Stack]]) -> bool:
        """Bring every wave to the cloud; say whether all of them are there, and if not, how to go on."""
        course = Course([stack.name for wave in waves for stack in wave])
        try:
            for wave in waves:
                self.gate(wave)
                self._wave(wave, course)
        except ApxError as error:
            self.person.say(str(error))
        except Failures as failures:
            for failed in failures.all:
                course.failed.append(failed.stack.name)
                self.person.say("\n".join([str(failed), *self.locks(failed.stack)]))
        except KeyboardInterrupt:
            self.person.say("\nInterrupted.")
        else:
            self.person.say(str(course))
            return True
        self.person.say(f"{course}\nThe same command goes on from here: what is applied already is left as it is.")
        return False

    def _wave(self, wave: Sequence[Stack], course: Course) -> None:
        plans = plan_all(self.terraform, wave, *self.options)
        for plan in plans:
            self.person.say(str(plan))
        course.unchanged += [plan.stack for plan in plans if plan.empty]
        changing = [plan for plan in plans if not plan.empty]
        if changing:
            approve(changing, self.approval, self.person)
            names = {plan.stack for plan in changing}
            self._apply([stack for stack in wave if stack.name in names], course)

    def _apply(self, stacks: Sequence[Stack], course: Course) -> None:
        def one(stack: Stack) -> None:
            self.terraform.apply(stack)
            course.applied.append(stack.name)

        side_by_side(one, stacks)


class Failures(Exception):
    """Some stacks of a wave failed; the others were waited for."""

    def __init__(self, failures: Sequence[Failed]) -> None:
        super().__init__("\n".join(map(str, failures)))
        self.all = failures


def plan_all(terraform: Terraform, stacks: Sequence[Stack], *options: str) -> list[Plan]:
    """Plan stacks that do not need one another. Raises `Failures`."""

    def plan(stack: Stack) -> Plan:
        return terraform.plan(stack, *options)

    for stack in stacks:
        try:
            terraform.initialise(stack)
        except Failed as failed:
            raise Failures([failed]) from None
    return side_by_side(plan, stacks)


def side_by_side(do: Callable[[Stack], T], stacks: Sequence[Stack]) -> list[T]:
    """Do the same to several stacks at once, and wait for all. Raises `Failures` with those that failed."""
    done, failed = [], []
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for future in [pool.submit(do, stack) for stack in stacks]:
            try:
                done.append(future.result())
            except Failed as failure:
                failed.append(failure)
    if failed:
        raise Failures(failed)
    return done
