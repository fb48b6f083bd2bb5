"""What a pull request is told of a change: what a command says in Markdown, as one comment that is kept up to date.

In a workflow it also goes into the job's summary, and into the outputs `comment` and `differs`, for a job that may
write what this one, which runs the change's own code, may not.
"""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 60_000
"""A comment has at most 65,536 characters, and a program's argument 131,072 bytes."""
DIFFERS = 2
"""The exit code of commands that found a difference."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that pull requests are told about."""

    marker: str
    """The comment's first line: what it is found by."""
    nothing: str
    """What is said where there is no difference."""
    more: str
    """The command that says all of it, where it is too long."""


class Said(msgspec.Struct, frozen=True):
    """What a pull request is told."""

    comment: str
    differs: bool


def look(subject: Subject, command: Sequence[str]) -> Said | int:
    """Run a command that compares; return what it says, or its exit code where it could not say."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 -- main's
    if done.returncode not in (0, DIFFERS):
        return done.returncode
    text = done.stdout.strip() or subject.nothing
    if len(text.encode()) > MOST_BYTES:
        cut = text.encode()[:MOST_BYTES].decode(errors="ignore")
        text = cut.rpartition("\n")[0] + f"\n\n… and more: run `{subject.more}`."
    return Said(f"{subject.marker}\n{text}\n", done.returncode == DIFFERS)


def tell(said: Said, environment: Mapping[str, str]) -> None:
    """Write for the workflow that runs this, if one does."""
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), said.comment)
    if outputs := environment.get("GITHUB_OUTPUT"):
        # The end is drawn by lot: what is told must not be able to end the value and begin another.
        end = f"end-{secrets.token_hex(16)}"
        _append(Path(outputs), f"differs={str(said.differs).lower()}\ncomment<<{end}\n{said.comment}{end}\n")


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
