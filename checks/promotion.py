"""From a merge to the verdict: `python -m checks.promotion COMMIT`, or `./dev promote COMMIT`.

Validates the tree, builds, signs and stores its releases, gives its orgs their terms, starts the rollouts, and waits
until each has ended. In a workflow it also says so on the deployment of the job's environment, by `gh`. Exits 0 when
every rollout was promoted, 2 when one was not, 1 when it could not be tried or waited for to the end. A repetition
starts nothing twice: releases are named by content.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

ROOT = Path(__file__).resolve().parents[1]
APX = str(Path(sys.executable).with_name("apx"))
WAIT_S = 3 * 3600
"""Longest wait for verdicts; the rollouts go on without us."""
VERDICT_FAILED = 2
DESCRIPTION_CHARACTERS = 140
"""What GitHub keeps of a status' description."""

Run = Callable[[Sequence[str]], int]
"""Runs a command and returns its exit code."""


class Outcome(msgspec.Struct, frozen=True):
    """How a promotion ended, in GitHub's words for a deployment's state."""

    state: Literal["success", "failure", "error"]
    text: str

    @property
    def exit_code(self) -> int:
        """Return 0, 2 or 1."""
        return {"success": 0, "failure": VERDICT_FAILED, "error": 1}[self.state]


def sequence(commit: str, why: str, control_url: str = "") -> list[tuple[str, tuple[str, ...]]]:
    """Return the steps by name, in their order; the last one waits for the verdicts.

    With the address of a control API, that is who starts rollouts: from here only the store of releases is reached.
    """
    if control_url:
        return [
            ("validate", (APX, "validate")),
            ("wait", (sys.executable, "-m", "checks.remote", control_url, commit)),
        ]
    return [
        ("validate", (APX, "validate")),
        ("build", (APX, "release", "build")),
        ("orgs", (APX, "org", "apply")),
        ("start", (APX, "rollout", "start", "--newest", "--commit", commit, "--why", why)),
        ("wait", (APX, "status", "--watch", "--timeout", str(WAIT_S), "--commit", commit)),
    ]


def promote(steps: Sequence[tuple[str, Sequence[str]]], run: Run) -> Outcome:
    """Run the steps until one fails."""
    for name, command in steps:
        code = run(command)
        if code and (name, code) == ("wait", VERDICT_FAILED):
            return Outcome("failure", "a rollout was not promoted: `apx rollout history` says why")
        if code:
            return Outcome("error", f"{name} ended with exit code {code}: see the log")
    return Outcome("success", "every rollout of this commit was promoted")


def tell(outcome: Outcome, commit: str, environment: Mapping[str, str], ask: Callable[[Sequence[str]], str]) -> None:
    """Set the status of the newest deployment of this commit, in a workflow's environment; elsewhere do nothing.

    `ask` runs a command and returns what it printed.
    """
    repository, name = environment.get("GITHUB_REPOSITORY"), environment.get("APX_ENVIRONMENT")
    if not repository or not name:
        return
    deployments = f"repos/{repository}/deployments"
    found = ask(
        [
            *("gh", "api", "--method", "GET", deployments),
            *("-f", f"sha={commit}", "-f", f"environment={name}", "-f", "per_page=1", "--jq", ".[0].id // empty"),
        ]
    ).strip()
    if found:
        run = f"{environment.get('GITHUB_SERVER_URL')}/{repository}/actions/runs/{environment.get('GITHUB_RUN_ID')}"
        ask(
            [
                *("gh", "api", "--silent", f"{deployments}/{found}/statuses", "-f", f"state={outcome.state}"),
                *("-f", f"description={outcome.text[:DESCRIPTION_CHARACTERS]}", "-f", f"log_url={run}"),
            ]
        )


def main(arguments: Sequence[str]) -> int:
    """Promote a commit, and say how it ended."""
    if len(arguments) != 1:
        sys.stderr.write("promote needs one argument: the commit that is checked out\n")
        return 1
    commit = arguments[0]
    control_url = os.environ.get("APX_CONTROL_URL", "")
    outcome = promote(sequence(commit, f"merged as {commit[:12]}", control_url), _run)
    sys.stdout.write(f"{outcome.state}: {outcome.text}\n")
    try:
        tell(outcome, commit, os.environ, _ask)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"the deployment's status is not set: {error}\n")  # the rollouts are what counts
    return outcome.exit_code


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 -- the sequence above


def _ask(command: Sequence[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603 -- gh, from above


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
