from __future__ import annotations

import pytest

from tests.bench import __main__ as bench
from tests.bench.bench import Bench


def test_a_row_is_asked_for_by_its_own_name_or_itsgroups_of() -> None:
    parser = bench.command_line()
    assert bench.groups_of(["accept-celery", "decision", "accept"], parser) == ["accept", "decision"]
    assert bench.groups_of([], parser) == list(bench.GROUPS)


def test_an_unknown_row_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        bench.groups_of(["acept"], bench.command_line())
    assert exit_.value.code == 2
    assert "'acept'" in capsys.readouterr().err


def test_no_two_rows_have_one_name() -> None:
    names = [name for group in bench.GROUPS.values() for name in group.NAMES]
    assert len(names) == len(set(names))


def test_a_group_that_fails_says_so_in_every_row_it_owes(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Bench) -> None:
        raise RuntimeError("no store")

    monkeypatch.setattr(bench.GROUPS["bus"], "rows", failing)
    found = bench.measured("bus", quick=True)
    assert [(row.name, row.error) for row in found] == [
        ("bus", "RuntimeError: no store"),
        ("bus-one-publisher", "RuntimeError: no store"),
    ]
