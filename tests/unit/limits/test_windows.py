"""Hours, days and months, where clocks are put forward and back."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.catalog.model import Per
from apx.limits.windows import span_of

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/Sao_Paulo",
         "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca")  # fmt: skip


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def test_a_day_begins_at_midnight_of_its_zone() -> None:
    span = span_of("day", "America/New_York", at("2026-11-26T03:00"))
    assert (span.label, span.begins_s) == ("2026-11-25", at("2026-11-25T05:00"))
    assert span.ends_s - span.begins_s == 86_400


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_a_day_on_which_the_clocks_change_is_shorter_or_longer(day: str, hours: int) -> None:
    span = span_of("day", "Europe/Berlin", at(f"{day}T12:00", "Europe/Berlin"))
    assert (span.label, span.ends_s - span.begins_s) == (day, hours * 3600)


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    first, second = (span_of("hour", "Europe/Berlin", at(f"2026-10-25T0{utc}:30")) for utc in (0, 1))
    assert (first.label, second.label) == ("2026-10-25T00:00Z", "2026-10-25T01:00Z")
    assert first.ends_s == second.begins_s


def test_an_hour_begins_with_the_clocks_of_its_zone() -> None:
    assert span_of("hour", "Asia/Kolkata", at("2026-11-26T10:45")).begins_s == at("2026-11-26T10:30")


@pytest.mark.parametrize(
    ("month", "days"), [("2026-02", 28), ("2028-02", 29), ("2026-04", 30), ("2026-12", 31), ("2027-01", 31)]
)
def test_a_month_has_its_days(month: str, days: int) -> None:
    for day in ("01", "28"):
        span = span_of("month", "UTC", at(f"{month}-{day}T23:59:59"))
        assert (span.label, (span.ends_s - span.begins_s) / 86_400) == (month, days)


def test_a_month_begins_in_its_zone() -> None:
    span = span_of("month", "Asia/Kolkata", at("2026-11-30T19:00"))
    assert (span.label, span.begins_s) == ("2026-12", at("2026-11-30T18:30"))


def test_a_day_that_begins_where_the_clocks_jump_over_midnight_begins_at_the_jump() -> None:
    span = span_of("day", "America/Sao_Paulo", at("2018-11-04T12:00", "America/Sao_Paulo"))
    assert span.begins_s == at("2018-11-04T03:00")
    assert span.ends_s - span.begins_s == 23 * 3600


def test_a_zone_that_this_machine_does_not_know_is_utc() -> None:
    assert span_of("day", "Nowhere/Here", at("2026-11-26T03:00")) == span_of("day", "UTC", at("2026-11-26T03:00"))


_MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1))  # noqa: DTZ001 -- hypothesis wants them so


@given(st.sampled_from(ZONES), st.sampled_from(["hour", "day", "month"]), _MOMENTS)
def test_every_moment_is_in_its_window(zone: str, per: Per, moment: datetime) -> None:
    now_s = moment.replace(tzinfo=UTC).timestamp()
    assert span_of(per, zone, now_s).holds(now_s)


@given(st.sampled_from(ZONES), st.sampled_from(["day", "month"]), _MOMENTS)
def test_days_and_months_follow_each_other_without_a_gap(zone: str, per: Per, moment: datetime) -> None:
    spans = [span_of(per, zone, moment.replace(tzinfo=UTC).timestamp())]
    for _ in range(14):
        spans.append(span_of(per, zone, spans[-1].ends_s))
    for before, after in pairwise(spans):
        assert before.ends_s == after.begins_s
        assert before.label < after.label


@given(st.sampled_from(ZONES), _MOMENTS, st.integers(0, 3 * 3600))
def test_two_moments_are_of_one_hour_only_where_an_hour_holds_both(zone: str, moment: datetime, after_s: int) -> None:
    now_s = moment.replace(tzinfo=UTC).timestamp()
    one, other = span_of("hour", zone, now_s), span_of("hour", zone, now_s + after_s)
    assert (one.label == other.label) == (one == other)
    assert after_s < 3600 or one.label != other.label
