from __future__ import annotations

import sys
from pathlib import Path

import pytest

from checks.impact import DECISIONS, STACKS
from checks.pull_request import MOST_BYTES, Said, look, tell


def diff(prints: str, code: int) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys; print({prints!r}); sys.exit({code})")


@pytest.mark.parametrize(("code", "differs"), [(0, False), (2, True)])
def test_a_comment_holds_the_diff_and_says_whether_there_is_one(code: int, differs: bool) -> None:  # noqa: FBT001
    said = look(DECISIONS, diff("| orders | 3 flips |", code))
    assert said == Said(f"{DECISIONS.marker}\n| orders | 3 flips |\n", differs)


def test_no_difference_is_said_in_words() -> None:
    said = look(DECISIONS, diff("", 0))
    assert isinstance(said, Said)
    assert "No decision changes." in said.comment


def test_a_diff_that_could_not_be_made_is_its_exit_code() -> None:
    assert look(DECISIONS, diff("a broken tree", 1)) == 1


def test_a_long_diff_is_cut_at_a_line() -> None:
    long = "print('x' * 99 + '\\n', end='') or [print('é' * 99) for _ in range(1000)]"
    said = look(DECISIONS, (sys.executable, "-c", long))
    assert isinstance(said, Said)
    assert len(said.comment.encode()) < MOST_BYTES + 200
    assert said.comment.endswith("run `./dev impact`.\n")


def test_what_a_diff_says_cannot_become_another_output(tmp_path: Path) -> None:
    outputs, summary = tmp_path / "outputs", tmp_path / "summary"
    tell(
        Said("EOF\ndiffers=false\n", differs=True), {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)}
    )
    first, opened, *held, end = outputs.read_text().splitlines()
    assert (first, opened, held) == ("differs=true", f"comment<<{end}", ["EOF", "differs=false"])
    assert summary.read_text() == "EOF\ndiffers=false\n"


def test_outside_a_workflow_nothing_is_written() -> None:
    tell(Said("", differs=False), {})


def test_the_two_comments_are_told_apart() -> None:
    assert DECISIONS.marker != STACKS.marker
