"""What is looked at before anything is planned: everything that is wrong is told at once, each with the way out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stacks.deploy.cloud import Cloud
from stacks.deploy.order import Stack
from stacks.deploy.project import apis_told, may_not, not_paid, quotas, who_and_where
from stacks.deploy.state import bucket_told, deployed, locks
from stacks.deploy.tools import missing_tools

FIRST_STACK = "encryption"
"""The first stack that names Google's own accounts."""


class Findings(msgspec.Struct):
    """What was found."""

    wrong: list[str] = msgspec.field(default_factory=list)
    """Nothing is begun with any of these."""
    notes: list[str] = msgspec.field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([*(f"note: {note}" for note in self.notes), *(f"wrong: {one}" for one in self.wrong)])


def preflight(cloud: Cloud, stacks: Sequence[Stack], *, builds: bool = False, bootstrapped: bool = False) -> Findings:
    """Look at the tools, the account, the project and the state; nothing is changed."""
    found = Findings(wrong=list(missing_tools(cloud.commands, builds=builds)))
    if any(line.startswith("gcloud ") for line in found.wrong):
        return found  # nothing more can be known
    project, wrong = who_and_where(cloud)
    found.wrong += wrong
    if project is None:
        return found
    found.notes.append(f"{project.account} deploys {cloud.environment.name} to {cloud.environment.project}")
    found.wrong += [*not_paid(cloud), *apis_told(cloud), *may_not(cloud, project), *bucket_told(cloud, project)]
    for text, stops in quotas(cloud, stacks):
        (found.wrong if stops else found.notes).append(text)
    found.wrong += locks(cloud, stacks)
    first = next((stack for stack in stacks if stack.short == FIRST_STACK), None)
    if first is not None and not bootstrapped and not deployed(cloud, first):
        found.wrong.append(
            "Google's own accounts, which encrypt with our keys, may not exist yet: the first time, run it with "
            "--bootstrap."
        )
    return found
