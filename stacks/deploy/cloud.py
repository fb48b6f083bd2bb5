"""gcloud, always about the environment's own project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from apx.errors import Unavailable
from stacks.deploy.commands import Commands, Done
from stacks.deploy.web import Web
from stacks.environment import Environment


class Cloud(msgspec.Struct, frozen=True):
    """What is asked of an environment's project, and by what."""

    environment: Environment
    commands: Commands
    web: Web

    def gcloud(self, *arguments: str, secret: bytes | None = None) -> Done:
        """Run gcloud on the project; it asks nothing."""
        return self.commands.run(self.argv(*arguments), secret=secret)

    def argv(self, *arguments: str) -> tuple[str, ...]:
        """Return the whole command, as a person would type it."""
        return ("gcloud", *arguments, f"--project={self.environment.project}", "--quiet")

    def asked(self, *arguments: str) -> Any:
        """Return what gcloud answers, as JSON. Raises `Unavailable` with what it said instead."""
        done = self.gcloud(*arguments, "--format=json")
        if not done.ok:
            raise Unavailable(last_line(done))
        return msgspec.json.decode(done.stdout or b"null")


def last_line(done: Done) -> str:
    """Return the line in which a command said why it failed."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"it ended with {done.code} and said nothing"])[0 if errors else -1]


def shown(argv: Sequence[str]) -> str:
    """Return a command as it is typed."""
    return " ".join(argv)
