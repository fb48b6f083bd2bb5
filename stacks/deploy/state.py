"""Where Terraform's state is kept: a bucket that only we can read and that forgets nothing; and who holds its locks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from apx.errors import Unavailable
from stacks.deploy.cloud import Cloud, shown
from stacks.deploy.commands import INTERRUPTED, Done
from stacks.deploy.order import Stack
from stacks.deploy.project import Project
from stacks.deploy.terraform import held

LOCK, STATE = "default.tflock", "default.tfstate"


def bucket_told(cloud: Cloud, project: Project) -> Iterator[str]:
    """Tell what is wrong with the bucket, with the exact commands that put it right."""
    bucket, said = cloud.environment.state_bucket, _described(cloud)
    if said is None:
        ways = " && ".join(shown(argv) for argv in bucket_commands(cloud))
        yield f"The bucket of Terraform's state, {bucket}, is not there: `{ways}`, or --bootstrap."
        return
    if str(said.get("projectNumber", project.number)) != project.number:
        yield (
            f"The bucket {bucket} belongs to another project ({said['projectNumber']}): nothing may be written there. "
            "Bucket names are the world's: rename the project."
        )
        return
    if (location := str(said.get("location", "")).lower()) != cloud.environment.home.name:
        yield (
            f"The bucket {bucket} is in {location}, and {cloud.environment.name}'s home is "
            f"{cloud.environment.home.name}: a bucket cannot move. Empty it, remove it, and make it again."
        )
    for fault, argv in _faults(cloud, said):
        yield f"The bucket {bucket} {fault}: `{shown(argv)}`, or --bootstrap."


def bucket_commands(cloud: Cloud) -> list[tuple[str, ...]]:
    """Return the commands that make the bucket as it has to be; none when it is."""
    said, url = _described(cloud), _url(cloud)
    if said is not None:
        return [argv for _, argv in _faults(cloud, said)]
    made = cloud.argv(
        *("storage", "buckets", "create", url, f"--location={cloud.environment.home.name}"),
        *("--uniform-bucket-level-access", "--public-access-prevention"),
    )
    return [made, cloud.argv("storage", "buckets", "update", url, "--versioning")]


def locks(cloud: Cloud, stacks: Sequence[Stack]) -> Iterator[str]:
    """Tell of each lock that somebody holds, by whom, and how it is broken when they are gone for sure."""
    prefixes = {f"{prefix(stack)}/{LOCK}": stack for stack in stacks}
    found = _listed(cloud, LOCK)
    if found.code == INTERRUPTED:
        yield f"Whether a lock is left, `./dev deploy {cloud.environment.name} --check` says."
    for one in _objects(found):
        if stack := prefixes.get(one["name"]):
            said = cloud.gcloud("storage", "cat", f"{_url(cloud)}/{one['name']}")
            lock = msgspec.json.decode(said.stdout) if said.ok else {}
            # Its id is the generation of the object, not the one that stands in it (hashicorp/terraform#17397).
            yield held(stack, str(one["generation"]), lock)


def deployed(cloud: Cloud, stack: Stack) -> bool:
    """Say whether a stack has a state."""
    return any(one["name"] == f"{prefix(stack)}/{STATE}" for one in _objects(_listed(cloud, STATE)))


def prefix(stack: Stack) -> str:
    """Return where a stack's state is in the bucket (`stacks/stack.py`)."""
    return f"apx/{stack.environment}/{stack.short}"


def _faults(cloud: Cloud, said: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    access = said.get("iamConfiguration", {})
    faults = (
        (said.get("versioning", {}).get("enabled"), "keeps no versions", "--versioning"),
        (
            access.get("uniformBucketLevelAccess", {}).get("enabled"),
            "has rights of single objects",
            "--uniform-bucket-level-access",
        ),
        (
            access.get("publicAccessPrevention") == "enforced",
            "could be opened to everybody",
            "--public-access-prevention",
        ),
    )
    for well, fault, option in faults:
        if not well:
            yield fault, cloud.argv("storage", "buckets", "update", _url(cloud), option)


def _described(cloud: Cloud) -> Any:
    try:
        return cloud.asked("storage", "buckets", "describe", _url(cloud), "--raw")
    except Unavailable:
        return None


def _listed(cloud: Cloud, name: str) -> Done:
    url = f"{_url(cloud)}/apx/{cloud.environment.name}/**/{name}"
    return cloud.gcloud("storage", "objects", "list", url, "--format=json")


def _objects(listed: Done) -> Sequence[Any]:
    """Return what was listed; nothing where there is no bucket, or nothing in it, which gcloud calls a failure."""
    found: Sequence[Any] = msgspec.json.decode(listed.stdout or b"[]") if listed.ok else ()
    return found


def _url(cloud: Cloud) -> str:
    return f"gs://{cloud.environment.state_bucket}"
