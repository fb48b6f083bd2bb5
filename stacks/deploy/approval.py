"""Whether what was planned may be done: a person says so, or named it beforehand by its digest."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from apx.errors import Conflict
from stacks.deploy.person import Person
from stacks.deploy.plan import Plan


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What was said on the command line."""

    environment: str
    plans: frozenset[str] = frozenset()
    """Digests of plans that were looked at: by a person, or by who let a workflow go on."""
    destroys: frozenset[str] = frozenset()
    """What keeps data and may be destroyed or replaced, as STACK.TYPE.NAME."""
    type_name: bool = False
    """Whether the name has to be typed whatever the plans say."""
    destroying: bool = False
    """Everything is to go, and nothing needs to be named."""


def approve(plans: Sequence[Plan], given: Approval, person: Person) -> None:
    """Return when these plans may be applied. Raises `Conflict` with what is missing."""
    losses = {name: lost for plan in plans for name, lost in plan.losses.items()}
    unnamed = {} if given.destroying else {n: lost for n, lost in losses.items() if n not in given.destroys}
    if unnamed:
        raise Conflict(
            "\n".join(
                ["Nothing was applied: this would lose what is kept. If that is meant, name each of them:"]
                + [f"  --destroys {name}   loses {lost}" for name, lost in unnamed.items()]
            )
        )
    if all(plan.digest in given.plans for plan in plans):
        return
    if losses or given.type_name:
        _typed(given.environment, f"Type the environment's name, {given.environment}, to go on:", plans, person)
    else:
        _typed("yes", "Apply this? Type yes:", plans, person)


def _typed(wanted: str, question: str, plans: Sequence[Plan], person: Person) -> None:
    answer = person.ask(question)
    if answer is None:
        missing = " ".join(f"--approve {plan.digest}" for plan in plans)
        raise Conflict(
            f"Nothing was applied: there is nobody to ask here. Whoever has looked at it goes on with {missing}"
        )
    if answer != wanted:
        raise Conflict(f"Nothing was applied: {answer!r} is not {wanted!r}.")
