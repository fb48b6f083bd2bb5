"""Questions: what they read, what they answer from files, and that BigQuery is asked the same."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from apx.backends.files.usage import UsageFiles
from apx.errors import Unsupported
from apx.usage.events import COLUMNS, UsageEvent
from apx.usage.questions import BY, By, bigquery_sql, moment, question
from tests.unit.usage.examples import NOON, asked, event

HOSTILE = "'; DROP TABLE usage; --\\\" ` \u2028 ☃ {0} %s \n"
EAST = timezone(timedelta(hours=9))


@pytest.fixture
def files(tmp_path: Path) -> UsageFiles:
    return UsageFiles(tmp_path / "usage")


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is not UTC."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def mixed(count: int) -> list[UsageEvent]:
    dice = random.Random(7)  # noqa: S311 -- the same each time
    return [
        event(
            NOON + timedelta(minutes=dice.randrange(-3000, 3000)),
            org=dice.choice(["acme", "blue"]),
            product=dice.choice(["orders", "tickets"]),
            plan=dice.choice(["free", "gold"]),
            key_id=f"key_{dice.randrange(4)}",
            state=dice.choice(["succeeded", "failed", "expired", "cancelled"]),
            request_bytes=dice.randrange(1000),
            cost_usd=dice.choice([None, 0.25]),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("by", BY)
async def test_totals_are_those_of_the_events(files: UsageFiles, by: By) -> None:
    events = mixed(500)
    await files.write("1_2", events)
    found = await files.ask(asked(by))
    names = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H:00Z"}

    def group(one: UsageEvent) -> str:
        if by in names:
            return datetime.fromtimestamp(one.finished_ms / 1000, UTC).strftime(names[by])
        return str(getattr(one, "key_id" if by == "key" else by))

    assert {total.group[by]: total.requests for total in found} == Counter(map(group, events))
    assert [total.group[by] for total in found] == sorted(total.group[by] for total in found)
    for total in found:
        those = [one for one in events if group(one) == total.group[by]]
        assert total.request_bytes == sum(one.request_bytes for one in those)
        states = Counter(one.state for one in those)
        counted = (total.succeeded, total.failed, total.expired, total.cancelled)
        assert counted == (states["succeeded"], states["failed"], states["expired"], states["cancelled"])
        assert (total.cost_usd or 0) == sum(one.cost_usd or 0 for one in those)


async def test_groups_by_all_come_to_the_sum_of_all(files: UsageFiles) -> None:
    events = mixed(500)
    await files.write("1_2", events)
    [whole] = await files.ask(asked())
    parts = await files.ask(asked(*BY))
    assert whole.requests == len(events) == sum(part.requests for part in parts)
    assert whole.response_bytes == sum(part.response_bytes for part in parts)


async def test_only_what_is_asked_for_is_counted(files: UsageFiles) -> None:
    events = mixed(300)
    await files.write("1_2", events)
    [total] = await files.ask(asked(org="acme", product="orders", plan="free", key="key_1"))
    want = ("acme", "orders", "free", "key_1")
    assert total.requests == sum((one.org, one.product, one.plan, one.key_id) == want for one in events)


async def test_a_request_that_was_stored_twice_counts_once(files: UsageFiles) -> None:
    events = mixed(100)
    await files.write("1_2", events)
    await files.write("1_3", [*events, event()])
    await files.write("1_3", [*events, event()])
    [total] = await files.ask(asked())
    assert total.requests == 102 - 1  # the second writing of a name replaces the first


async def test_nothing_stored_is_no_row(files: UsageFiles) -> None:
    assert await files.ask(asked()) == []
    await files.write("1_2", [event()])
    assert await files.ask(asked(org="nobody")) == []
    assert await files.ask(asked("day", begin="2026-11-01", end="2026-11-02")) == []


async def test_what_nobody_priced_has_no_cost(files: UsageFiles) -> None:
    await files.write("1_2", [event(), event()])
    [total] = await files.ask(asked())
    assert total.cost_usd is None


@pytest.mark.usefixtures("far_away")
async def test_a_day_is_the_utc_day_wherever_it_is_asked(files: UsageFiles) -> None:
    late = datetime(2026, 11, 24, 23, 59, 59, 999000, tzinfo=UTC)
    await files.write("1_2", [event(late), event(late + timedelta(milliseconds=1))])
    found = await files.ask(asked("day", "hour"))
    assert [total.group for total in found] == [
        {"day": "2026-11-24", "hour": "2026-11-24T23:00Z"},
        {"day": "2026-11-25", "hour": "2026-11-25T00:00Z"},
    ]


async def test_the_beginning_counts_and_the_end_does_not(files: UsageFiles) -> None:
    await files.write("1_2", [event(NOON), event(NOON + timedelta(hours=1))])
    [total] = await files.ask(asked(begin="2026-11-25T21:00+09:00", end="2026-11-25T22:00+09:00"))
    assert total.requests == 1


async def test_hostile_names_are_names(files: UsageFiles) -> None:
    await files.write("1_2", [event(org=HOSTILE), event(org="acme")])
    [total] = await files.ask(asked("org", org=HOSTILE))
    assert (total.group["org"], total.requests) == (HOSTILE, 1)


async def test_many_small_files_become_one_and_count_the_same(files: UsageFiles, tmp_path: Path) -> None:
    for number in range(150):
        await files.write(f"{number:04}-0_{number:04}-1", [event()])
    [total] = await files.ask(asked())
    assert total.requests == 150
    assert len(list((tmp_path / "usage" / "date=2026-11-25").iterdir())) < 100


def test_moments_are_read_with_their_offset() -> None:
    assert moment("2026-11-25", what="from") == datetime(2026, 11, 25, tzinfo=UTC)
    assert moment("2026-11-25T21:00+09:00", what="from") == NOON == datetime(2026, 11, 25, 21, tzinfo=EAST)
    assert moment("2026-11-25T12:00", what="from") == NOON


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-11-25T25:00", "\x00" * 10, "9999999999", "0001-01-01T00:00+14:00"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Unsupported, match="neither a day"):
        moment(text, what="from")


def test_without_times_it_is_this_month() -> None:
    read = question(NOON, begin=None, end=None, by=())
    assert read.begin == datetime(2026, 11, 1, tzinfo=UTC)
    assert NOON < read.end < NOON + timedelta(seconds=1)


def test_a_time_before_all_time_is_refused() -> None:
    with pytest.raises(Unsupported, match="to: '0001-01-01'"):
        question(NOON, begin=None, end="0001-01-01", by=())


def test_a_time_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(Unsupported, match="is not before"):
        asked(begin="2026-11-02", end="2026-11-02")


def test_what_nothing_is_put_together_by_is_refused() -> None:
    with pytest.raises(Unsupported, match="by: 'colour' is none of day, hour"):
        asked("colour")


class TestBigQuery:
    def test_the_same_question_is_bigquery_sql(self) -> None:
        sql = bigquery_sql(asked("day", "org", product="orders"), "my-project.apx_usage.usage")
        parsed = sqlglot.parse_one(sql, dialect="bigquery")
        assert [(one.catalog, one.db, one.name) for one in parsed.find_all(exp.Table)] == [
            ("my-project", "apx_usage", "usage")
        ]
        assert "TIMESTAMP_TRUNC" in sql
        assert "`finished_at` >= TIMESTAMP('2026-11-01T00:00:00+00:00')" in sql

    def test_every_question_has_its_sql(self) -> None:
        for by in BY:
            parsed = sqlglot.parse_one(bigquery_sql(asked(by), "p.d.t"), dialect="bigquery")
            assert parsed.find(exp.Group) is not None

    def test_a_hostile_name_is_a_text(self) -> None:
        sql = bigquery_sql(asked(org=HOSTILE), "p.d.t")
        literals = [one.this for one in sqlglot.parse_one(sql, dialect="bigquery").find_all(exp.Literal)]
        assert HOSTILE in literals

    async def test_its_meaning_is_that_of_the_files(self, files: UsageFiles, tmp_path: Path) -> None:
        """BigQuery's SQL, translated back for DuckDB, says of the same rows what ibis had DuckDB say."""
        import duckdb  # noqa: PLC0415

        events = mixed(300)
        await files.write("1_2", events)
        question_ = asked("day", "org", "key")
        sql = sqlglot.transpile(bigquery_sql(question_, "a.b.c"), read="bigquery", write="duckdb")[0]
        sql = re.sub(r'"?a"?\."?b"?\."?c"?', f"read_parquet('{tmp_path}/usage/*/*.parquet')", sql)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            rows = connection.sql(sql).to_arrow_table().to_pylist()
        found = await files.ask(question_)
        assert [row["requests"] for row in rows] == [total.requests for total in found]
        assert [row["request_bytes"] for row in rows] == [total.request_bytes for total in found]


def test_columns_are_the_fields_of_an_event() -> None:
    fields = [name.replace("_ms", "_at") for name in UsageEvent.__struct_fields__]
    assert fields == [column.name for column in COLUMNS]
