"""`apx usage`."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from apx.backends.files.usage import UsageFiles
from apx.bootstrap import Usage
from apx.usage.tables import FOCUS_COLUMNS
from tests.unit.cli.ran import Run
from tests.unit.usage.examples import NOON, event

WHEN = ("--from", "2026-11-01", "--to", "2026-12-01")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UsageFiles:
    stored = UsageFiles(tmp_path / "usage")

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Usage]:
        yield Usage(stored, None)

    monkeypatch.setattr("apx.bootstrap.usage", opened)
    return stored


def used(files: UsageFiles) -> None:
    events = [event(), event(product="=cmd()"), event(NOON - timedelta(days=1), org="blue", state="failed")]
    asyncio.run(files.write("1_2", events))


def test_it_is_told_by_product(run: Run, files: UsageFiles) -> None:
    used(files)
    ran = run("usage", *WHEN)
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert lines[0][:3] == ["PRODUCT", "REQUESTS", "SUCCEEDED"]
    assert [line[:3] for line in lines[1:]] == [["=cmd()", "1", "1"], ["orders", "2", "1"]]


def test_it_is_told_by_what_is_asked_for_as_json(run: Run, files: UsageFiles) -> None:
    used(files)
    told = run("usage", *WHEN, "--by", "day", "--by", "org", "--product", "orders", "--json").json
    assert [(one["day"], one["org"], one["requests"]) for one in told["totals"]] == [
        ("2026-11-24", "blue", 1),
        ("2026-11-25", "acme", 1),
    ]


def test_nothing_used_is_an_empty_answer(run: Run) -> None:
    assert run("usage", *WHEN, "--json").json["totals"] == []


def test_csv_has_no_formula(run: Run, files: UsageFiles) -> None:
    used(files)
    rows = list(csv.DictReader(io.StringIO(run("usage", *WHEN, "--csv").out)))
    assert [(row["product"], row["requests"]) for row in rows] == [("'=cmd()", "1"), ("orders", "2")]


def test_focus_has_the_columns_of_focus(run: Run, files: UsageFiles) -> None:
    used(files)
    rows = list(csv.reader(io.StringIO(run("usage", *WHEN, "--focus").out)))
    assert tuple(rows[0]) == FOCUS_COLUMNS
    assert len(rows) == 1 + 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--by", "colour"), 1, "by: 'colour' is none of day, hour, org, product, plan, key"),
        (("--from", "soon"), 1, "from: 'soon' is neither a day, 2026-11-25, nor a moment"),
        (("--from", "2026-11-02", "--to", "2026-11-01"), 1, "is not before"),
        (("--json", "--csv"), 2, "give one of them"),
    ],
)
def test_a_wrong_question_is_told(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    ran = run("usage", *words)
    assert ran.code == code
    assert said in ran.err
