"""What must be there before Terraform can begin: APIs, the bucket of its state, Google's own accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apx.errors import Conflict, Unavailable
from stacks.deploy.cloud import Cloud, last_line, shown
from stacks.deploy.order import Stack
from stacks.deploy.person import Person
from stacks.deploy.project import FIRST_APIS, who_and_where
from stacks.deploy.state import bucket_commands
from stacks.services import SERVICE_AGENTS

MOST_APIS = 20
"""At a time, says gcloud."""
BIGQUERY = "bigquery"
"""Its account for encryption is not the service's identity, and is made by being asked for."""


def bootstrap(cloud: Cloud, stacks: Sequence[Stack], person: Person) -> None:
    """Show the commands, and run them after a typed yes; each may be run again.

    Raises `Conflict` without a yes, `Unavailable` at the first that fails. An account that cannot be asked for is only
    told: some exist since their API is on, and the stack that names one that does not will say so.
    """
    project, wrong = who_and_where(cloud)
    if project is None or wrong:
        raise Conflict("\n".join(f"wrong: {line}" for line in wrong))
    planned = commands(cloud, stacks)
    person.say(f"To prepare {cloud.environment.project}, {project.account} would run:")
    person.say("\n".join(f"  {shown(argv)}" for argv in planned))
    answer = person.ask("Run them? Type yes:")
    if answer is None:
        raise Conflict("Nothing was run: there is nobody to ask here. People prepare a project, once.")
    if answer != "yes":
        raise Conflict(f"Nothing was run: {answer!r} is not 'yes'.")
    accounts = list(_accounts(cloud))
    for argv in planned:
        done = cloud.commands.run(argv)
        if not done.ok and argv not in accounts:
            raise Unavailable(f"`{shown(argv)}` failed: {last_line(done)}. It goes on from here when run again.")
        person.say(f"{'done' if done.ok else f'failed, {last_line(done)}'}: {shown(argv)}")


def commands(cloud: Cloud, stacks: Sequence[Stack]) -> list[tuple[str, ...]]:
    """Return the commands in their order."""
    return [*_apis(cloud, stacks), *bucket_commands(cloud), *_accounts(cloud)]


def _apis(cloud: Cloud, stacks: Sequence[Stack]) -> Iterator[tuple[str, ...]]:
    used = {one["service"] for stack in stacks for one in stack.resources("google_project_service").values()}
    every = sorted({*used, *(f"{api}.googleapis.com" for api in FIRST_APIS)})
    for at in range(0, len(every), MOST_APIS):
        yield cloud.argv("services", "enable", *every[at : at + MOST_APIS])


def _accounts(cloud: Cloud) -> Iterator[tuple[str, ...]]:
    for service in SERVICE_AGENTS:
        if service == BIGQUERY:
            yield ("bq", "show", "--encryption_service_account", f"--project_id={cloud.environment.project}")
        else:
            yield cloud.argv("beta", "services", "identity", "create", f"--service={service}.googleapis.com")
