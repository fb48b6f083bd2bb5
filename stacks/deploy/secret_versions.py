"""The secrets' values: made here once, handed to Secret Manager on standard input, and kept nowhere else."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from apx.backends.gcp import names
from apx.errors import Conflict, Unavailable
from stacks.deploy.cloud import Cloud, last_line, shown
from stacks.deploy.person import Person

SECRET_BYTES = 32


def without_version(cloud: Cloud) -> list[str]:
    """Return the secrets that have no value yet. Raises `Unavailable` where that cannot be known."""
    return [
        name
        for name in map(names.secret, names.SECRETS)
        if not cloud.asked("secrets", "versions", "list", name, "--filter=state=ENABLED", "--limit=1")
    ]


def ensure_versions(
    cloud: Cloud, person: Person, *, make: bool, draw: Callable[[int], bytes] = secrets.token_bytes
) -> None:
    """Let each secret have a value, made where `make` and a person says yes. Raises `Conflict`, `Unavailable`."""
    if not (missing := without_version(cloud)):
        return
    if not make:
        raise Conflict(_how(cloud, missing))
    answer = person.ask(f"Make {SECRET_BYTES} random bytes for each of {', '.join(missing)}? Type yes:")
    if answer != "yes":
        raise Conflict("Nothing was made. " + _how(cloud, missing))
    for name in missing:
        done = cloud.gcloud(*_add(name), secret=draw(SECRET_BYTES))
        if not done.ok:
            raise Unavailable(f"{name} got no version: {last_line(done)}")
        person.say(f"{name}: made, {SECRET_BYTES} bytes")


def _how(cloud: Cloud, missing: Sequence[str]) -> str:
    one = shown(cloud.argv(*_add(missing[0])))
    return (
        f"The pods would wait for ever: {', '.join(missing)} have no value. Run it with --bootstrap, or for each "
        f"`head -c {SECRET_BYTES} /dev/urandom | {one}`."
    )


def _add(name: str) -> tuple[str, ...]:
    return ("secrets", "versions", "add", name, "--data-file=-")
