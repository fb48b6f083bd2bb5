from __future__ import annotations

import sys
from pathlib import Path

import pytest

from checks.impact import MARKER, MOST_BYTES, Impact, impact, tell


def diff(prints: str, code: int) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys; print({prints!r}); sys.exit({code})")


@pytest.mark.parametrize(("code", "flips"), [(0, False), (2, True)])
def test_a_comment_holds_the_diff_and_says_whether_decisions_flip(code: int, flips: bool) -> None:  # noqa: FBT001
    assert impact(diff("| orders | 3 flips |", code)) == Impact(f"{MARKER}\n| orders | 3 flips |\n", flips)


def test_no_difference_is_said_in_words() -> None:
    said = impact(diff("", 0))
    assert isinstance(said, Impact)
    assert "No decision changes." in said.comment


def test_a_diff_that_could_not_be_made_is_its_exit_code() -> None:
    assert impact(diff("a broken tree", 1)) == 1


def test_a_long_diff_is_cut_at_a_line() -> None:
    said = impact((sys.executable, "-c", "print('x' * 99 + '\\n', end='') or [print('é' * 99) for _ in range(1000)]"))
    assert isinstance(said, Impact)
    assert len(said.comment.encode()) < MOST_BYTES + 200
    assert said.comment.endswith("run `./dev impact`.\n")


def test_what_a_diff_says_cannot_become_another_output(tmp_path: Path) -> None:
    outputs, summary = tmp_path / "outputs", tmp_path / "summary"
    tell(Impact("EOF\nflips=false\n", flips=True), {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(summary)})
    first, opened, *held, end = outputs.read_text().splitlines()
    assert (first, opened, held) == ("flips=true", f"comment<<{end}", ["EOF", "flips=false"])
    assert summary.read_text() == "EOF\nflips=false\n"


def test_outside_a_workflow_nothing_is_written() -> None:
    tell(Impact("", flips=False), {})
