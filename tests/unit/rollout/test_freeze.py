"""Windows in which nothing moves."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from apx.catalog.model import Freeze
from apx.rollout.freeze import frozen_until

BERLIN = "Europe/Berlin"
NIGHT = Freeze(begin="22:00", end="06:00", timezone=BERLIN)
WEEKEND = Freeze(days=("fri",), begin="16:00", end="16:00", timezone=BERLIN, why="weekend")


def at(text: str, zone: str = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.mark.parametrize(
    ("when", "inside"),
    [
        ("2026-11-24 21:59", False),
        ("2026-11-24 22:00", True),
        ("2026-11-25 00:30", True),
        ("2026-11-25 05:59", True),
        ("2026-11-25 06:00", False),
    ],
)
def test_a_window_over_midnight_ends_the_next_day(when: str, *, inside: bool) -> None:
    assert (frozen_until([NIGHT], at(when)) is not None) == inside


@pytest.mark.parametrize(
    ("when", "inside"), [("2026-11-27 16:00", True), ("2026-11-28 15:59", True), ("2026-11-26 17:00", False)]
)
def test_a_window_of_a_day_begins_on_its_day_alone(when: str, *, inside: bool) -> None:
    assert (frozen_until([WEEKEND], at(when)) is not None) == inside


def test_the_end_is_told_in_its_own_time() -> None:
    found = frozen_until([NIGHT], at("2026-11-24 23:00"))
    assert found is not None
    assert f"{found[1]:%Y-%m-%d %H:%M}" == "2026-11-25 06:00"


def test_of_several_windows_the_one_that_ends_last_is_told() -> None:
    found = frozen_until([NIGHT, WEEKEND], at("2026-11-27 23:00"))
    assert found is not None
    assert found[0].why == "weekend"


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 7), ("2026-10-24", 9), ("2026-11-24", 8)])
def test_a_night_in_which_the_clocks_change_is_as_long_as_it_is(day: str, hours: int) -> None:
    begin = at(f"{day} 22:00")
    found = frozen_until([NIGHT], begin)
    assert found is not None
    assert found[1].timestamp() * 1000 - begin == hours * 3_600_000


def test_without_windows_nothing_is_frozen() -> None:
    assert frozen_until([], at("2026-11-24 23:00")) is None
