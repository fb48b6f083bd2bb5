from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from apx.local.follow import last_lines, new_lines


class NothingMoreHappensError(Exception):
    """Ends a follower."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "router.log"
    path.write_text("one\ntwo\nthree\n")
    return path


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def rotate(log: Path) -> None:
    log.rename(log.with_suffix(".log.1"))
    log.touch()


def followed(log: Path, *happenings: Callable[[], object]) -> list[str]:
    """Return what a follower sees when these things happen, each while it pauses."""
    left = list(happenings)

    def pause(_: float) -> None:
        if not left:
            raise NothingMoreHappensError
        left.pop(0)()

    seen = []
    with suppress(NothingMoreHappensError):
        for _, line in new_lines([log], pause):
            seen.append(line)
    return seen


def test_the_last_lines_are_shown(log: Path) -> None:
    assert last_lines(log, 2) == ["two", "three"]


def test_a_log_that_is_not_there_yet_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "router.log", 5) == []


def test_new_lines_come_as_they_are_written_and_old_ones_do_not(log: Path) -> None:
    assert followed(log, partial(append, log, "four\nfive\n"), partial(append, log, "six\n")) == ["four", "five", "six"]


def test_half_a_line_is_kept_until_its_end_is_there(log: Path) -> None:
    assert followed(log, partial(append, log, "fo"), partial(append, log, "ur\n")) == ["four"]


def test_a_rotated_log_is_followed_from_its_new_beginning(log: Path) -> None:
    assert followed(log, partial(rotate, log), partial(append, log, "new\n")) == ["new"]


def test_a_log_that_appears_later_is_followed(log: Path) -> None:
    later = log.with_name("later.log")
    assert followed(later, partial(append, later, "hello\n")) == ["hello"]
