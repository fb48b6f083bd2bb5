"""What a change does to decisions, for its pull request: `python -m checks.impact [BASE [HEAD]]`, or `./dev impact`.

Prints `apx policy diff` of two commits as Markdown. In a workflow it also goes into the job's summary, and into the
outputs `comment` and `flips`, for a job that may write what this one, which runs the change's own code, may not.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
APX = str(Path(sys.executable).with_name("apx"))
MARKER = "<!-- apx: decision impact -->"
"""The comment's first line: what it is found by."""
MOST_BYTES = 60_000
"""A comment has at most 65,536 characters, and a program's argument 131,072 bytes."""
FLIPS = 2
"""The exit code of `apx policy diff` when decisions differ."""


class Impact(msgspec.Struct, frozen=True):
    """What a pull request is told."""

    comment: str
    flips: bool


def impact(diff: Sequence[str]) -> Impact | int:
    """Run `diff` (`apx policy diff …`) and return what it says; its exit code where it could not say."""
    done = subprocess.run(diff, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 -- main's
    if done.returncode not in (0, FLIPS):
        return done.returncode
    text = done.stdout.strip() or "No decision changes."
    if len(text.encode()) > MOST_BYTES:
        cut = text.encode()[:MOST_BYTES].decode(errors="ignore")
        text = cut.rpartition("\n")[0] + "\n\n… and more: run `./dev impact`."
    return Impact(f"{MARKER}\n{text}\n", done.returncode == FLIPS)


def tell(said: Impact, environment: Mapping[str, str]) -> None:
    """Write for the workflow that runs this, if one does."""
    if summary := environment.get("GITHUB_STEP_SUMMARY"):
        _append(Path(summary), said.comment)
    if outputs := environment.get("GITHUB_OUTPUT"):
        # The end is drawn by lot: what policies say must not be able to end the value and begin another.
        end = f"end-{secrets.token_hex(16)}"
        _append(Path(outputs), f"flips={str(said.flips).lower()}\ncomment<<{end}\n{said.comment}{end}\n")


def main(arguments: Sequence[str]) -> int:
    """Print the impact; 0 also when decisions differ, as that is for people to judge."""
    base, head = (*arguments, *("origin/main", "HEAD")[len(arguments) :])[:2]
    said = impact((APX, "policy", "diff", base, head, "--markdown"))
    if isinstance(said, int):
        return said
    sys.stdout.write(said.comment)
    tell(said, os.environ)
    return 0


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
