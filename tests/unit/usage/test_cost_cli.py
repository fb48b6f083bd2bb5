"""`apx cost estimate`, as people run it."""

from __future__ import annotations

import sys

import msgspec
import pytest

from apx.cli.main import main
from apx.usage.estimate import Estimate, estimate
from apx.usage.profile import read_profile
from tests.unit.cli.ran import Ran, Run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["apx", "cost", "estimate", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


def test_what_is_paid_by_use_comes_first(run: Run) -> None:
    shown = run()
    assert shown.code == 0
    assert 0 < shown.out.index("Paid by use") < shown.out.index("Paid by the hour")
    assert "OVER 5.00 a day" in shown.out


def test_json_is_the_estimate(run: Run) -> None:
    shown = run("--json", "--profile", "streaming")
    assert msgspec.json.decode(shown.out.encode(), type=Estimate) == estimate(read_profile("streaming"))


def test_requests_and_regions_stand_in_place_of_the_profiles(run: Run) -> None:
    shown = run("--json", "--requests-per-day", "1000", "--region", "us-central1", "--region", "europe-west1")
    profile = shown.json["profile"]
    assert profile["requests_per_day"] == 1000
    assert profile["regions"] == ["us-central1", "europe-west1"]


def test_no_requests_at_all_cost_something_still(run: Run) -> None:
    shown = run("--requests-per-day", "0")
    assert shown.code == 0
    assert "within 5.00 a day; 0.00 a million requests" in shown.out


def test_explain_shows_where_numbers_come_from(run: Run) -> None:
    shown = run("--explain", "firestore")
    assert shown.code == 0
    assert "at 0.09 USD a 100k documents" in shown.out
    assert "apx/backends/gcp/documents.py" in shown.out
    assert "ASSUMED: " in shown.out


def test_explain_in_json_has_both_kinds_of_a_component(run: Run) -> None:
    assert [part["kind"] for part in run("--explain", "cloud nat", "--json").json] == ["usage", "fixed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--explain", "mainframe"), "'mainframe' is no component; there are Between zones"),
        (("--profile", "nothing"), "nothing: No such file or directory"),
        (("--region", "mars-north1"), "'mars-north1' has no prices here"),
    ],
)
def test_a_mistake_is_one_line_and_exit_1(run: Run, words: tuple[str, ...], said: str) -> None:
    shown = run(*words)
    assert shown.code == 1
    assert said in shown.err
    assert shown.out == ""
