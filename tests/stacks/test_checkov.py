"""checkov reads what is synthesised: no check fails but those accepted beside the resource, each with its reason."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator

import msgspec
import pytest

from tests.stacks.plans import ROOT, Plan

CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"


class Finding(msgspec.Struct, frozen=True, order=True):
    """A check and what it is about; checkov names a resource without its type."""

    stack: str
    resource: str
    check: str


def failed(plan: Plan) -> Iterator[Finding]:
    folder = str(plan.folder / "stacks")
    command = [str(CHECKOV), "--framework", "terraform_json", "--directory", folder, "--output", "json"]
    offline = {**os.environ, "CHECKOV_NO_GUIDELINES": "1", "BC_SKIP_MAPPING": "TRUE"}
    done = subprocess.run(
        [*command, "--compact", "--quiet", "--soft-fail", "--skip-download"],
        env=offline,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for one in json.loads(done.stdout)["results"]["failed_checks"]:
        stack = one["file_path"].split("/")[1].removeprefix(f"{plan.environment}-")
        yield Finding(stack, one["resource"].removeprefix("resource."), one["check_id"])


def accepted(plan: Plan) -> Iterator[Finding]:
    for one in plan.resources():
        for check, reason in one.body.get("//", {}).get("checkov_skip", {}).items():
            assert len(reason) > 20, f"{one.address}: {check} is accepted without a reason"
            yield Finding(one.stack, one.name, check)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("environment", "regions"), [("dev", 1), ("prod", 3)])
def test_checkov_finds_what_is_accepted_and_nothing_else(
    environment: str, regions: int, planned: Callable[[str, int], Plan]
) -> None:
    plan = planned(environment, regions)
    if not CHECKOV.exists():
        pytest.fail("checkov's environment is not here: run `./dev test` or `./dev lint` once, which install it.")
    assert sorted(failed(plan)) == sorted(accepted(plan))
