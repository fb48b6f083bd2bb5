"""Every standing check of the repository, side by side: `python -m checks.lint`.

Prints one line for each check, and for one that fails its command and its whole output.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import msgspec

from apx.errors import Misconfigured
from apx.policy.opa import Opa

ROOT = Path(__file__).resolve().parents[1]
POLICIES = "gitops/policies"
POLICY_COVERAGE_PERCENT = 95
TIMEOUT_S = 600


class Check(msgspec.Struct, frozen=True):
    """A command that exits 0 when all is well."""

    command: tuple[str, ...]
    install: str = ""
    """What to do where the tool is missing; empty for what the lock installs."""


class Outcome(msgspec.Struct, frozen=True):
    """What a check said."""

    check: Check
    ok: bool
    output: str
    took_s: float = 0.0
    missing: bool = False
    """The tool is not here, so that nothing was checked."""


def standing_checks(opa: str) -> list[Check]:
    """Return the checks, the slowest first."""
    return [
        Check(("mypy",)),
        Check(
            ("mypy", "--python-executable", ".venv-stacks/bin/python", "--cache-dir", ".mypy_cache/stacks", "stacks")
        ),
        Check((opa, "test", "--coverage", f"--threshold={POLICY_COVERAGE_PERCENT}", POLICIES)),
        Check(("lint-imports", "--no-cache", "--no-logo")),
        Check(("ruff", "check", "--no-fix")),
        Check(("ruff", "format", "--check")),
        Check((opa, "test", POLICIES)),
        Check((opa, "check", "--strict", POLICIES)),
        Check((opa, "fmt", "--list", "--fail", POLICIES)),
        Check(("actionlint",), install="Install Go and run this again, or install actionlint from its releases."),
        Check(("zizmor", "--offline", "--quiet", "--no-progress", ".github/workflows")),
        Check(("shellcheck", "dev", ".ci/run")),
        Check((sys.executable, "-m", "checks.repository")),
        Check((sys.executable, "-m", "checks.dockerfiles")),
        Check((sys.executable, "-m", "checks.crds")),
    ]


def run_all(checks: Sequence[Check]) -> Iterator[Outcome]:
    """Run the checks, one for each core at a time, and yield what each said as it ends."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for future in as_completed([pool.submit(run, check) for check in checks]):
            yield future.result()


def run(check: Check) -> Outcome:
    """Run one check in the repository's root."""
    program = shutil.which(check.command[0])
    if program is None:
        return Outcome(check, ok=False, output=f"{check.command[0]} is not here. {check.install}".strip(), missing=True)
    began = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 -- the commands above
            [program, *check.command[1:]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(check, ok=False, output=f"stopped after {TIMEOUT_S} s", took_s=TIMEOUT_S)
    return Outcome(check, ok=done.returncode == 0, output=done.stdout, took_s=time.monotonic() - began)


def report(outcome: Outcome) -> str:
    """Return what is printed of an outcome."""
    tool = Path(outcome.check.command[0]).name
    if outcome.ok:
        return f"ok      {tool} {' '.join(outcome.check.command[1:])} ({outcome.took_s:.1f} s)"
    if outcome.missing:
        return f"MISSING {outcome.output}"
    return f"FAILED  {shlex.join(outcome.check.command)}\n{outcome.output.rstrip()}\n"


def main() -> int:
    """Run every check. A missing tool fails the run in CI; elsewhere it is said, and the rest counts."""
    try:
        opa = str(Opa.find().binary)
    except Misconfigured as error:
        sys.stdout.write(f"FAILED  {error}\n")
        return 1
    in_ci = os.environ.get("CI") == "true"
    failed = 0
    for outcome in run_all(standing_checks(opa)):
        sys.stdout.write(report(outcome) + "\n")
        sys.stdout.flush()
        failed += not outcome.ok and (in_ci or not outcome.missing)
    sys.stdout.write(f"lint: {failed} failed\n" if failed else "lint: all well\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
