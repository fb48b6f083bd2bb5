from __future__ import annotations

from collections.abc import Sequence

import pytest

from checks.promotion import Outcome, main, promote, sequence, tell

COMMIT = "a" * 40
WORKFLOW = {
    "GITHUB_REPOSITORY": "example/products",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_RUN_ID": "7",
    "APX_ENVIRONMENT": "production",
}


class Ran:
    """Remembers commands, and answers one of them with an exit code."""

    def __init__(self, failing: str = "", code: int = 0, says: str = "") -> None:
        self.commands: list[str] = []
        self._failing, self._code, self._says = failing, code, says

    def run(self, command: Sequence[str]) -> int:
        self.commands.append(" ".join(command[1:]))
        return self._code if self._failing and self._failing in self.commands[-1] else 0

    def ask(self, command: Sequence[str]) -> str:
        self.commands.append(" ".join(command))
        return self._says


def test_a_merge_is_validated_built_started_and_waited_for() -> None:
    ran = Ran()
    assert promote(sequence(COMMIT, "merged"), ran.run).state == "success"
    assert [command.split(" --")[0] for command in ran.commands] == [
        "validate",
        "release build",
        "org apply",
        "rollout start",
        "status",
    ]


@pytest.mark.parametrize("failing", ["validate", "release build", "org apply", "rollout start"])
@pytest.mark.parametrize("code", [1, 2])
def test_what_cannot_be_tried_is_an_error_and_ends_it(failing: str, code: int) -> None:
    ran = Ran(failing, code)
    assert promote(sequence(COMMIT, "merged"), ran.run).state == "error"
    assert failing in ran.commands[-1]


@pytest.mark.parametrize(("code", "state", "exit_code"), [(2, "failure", 2), (1, "error", 1), (130, "error", 1)])
def test_a_verdict_that_fails_is_told_from_a_wait_that_does(code: int, state: str, exit_code: int) -> None:
    outcome = promote(sequence(COMMIT, "merged"), Ran("status", code).run)
    assert (outcome.state, outcome.exit_code) == (state, exit_code)


def test_the_deployment_of_the_commit_gets_the_outcome() -> None:
    ran = Ran(says="42\n")
    tell(Outcome("failure", "why " * 100), COMMIT, WORKFLOW, ran.ask)
    assert f"sha={COMMIT} -f environment=production" in ran.commands[0]
    assert "deployments/42/statuses -f state=failure -f description=why" in ran.commands[1]
    assert ran.commands[1].endswith("log_url=https://github.example/example/products/actions/runs/7")


def test_without_a_deployment_nothing_is_set() -> None:
    ran = Ran(says="")
    tell(Outcome("success", "done"), COMMIT, WORKFLOW, ran.ask)
    assert len(ran.commands) == 1


def test_outside_a_workflow_nobody_is_told() -> None:
    ran = Ran()
    tell(Outcome("success", "done"), COMMIT, {}, ran.ask)
    assert not ran.commands


def test_a_promotion_needs_its_commit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "the commit" in capsys.readouterr().err
