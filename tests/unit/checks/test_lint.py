from __future__ import annotations

import sys

import pytest

from checks import lint
from checks.lint import Check, report, run, run_all


def python(code: str) -> Check:
    return Check((sys.executable, "-c", code))


def test_a_check_that_fails_is_shown_with_its_command_and_all_it_said() -> None:
    text = report(run(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")))
    assert text.startswith(f"FAILED  {sys.executable} -c 'import sys")
    assert "out" in text
    assert "err" in text


def test_a_check_that_passes_is_one_line() -> None:
    text = report(run(python("print('much')")))
    assert text.startswith("ok ")
    assert "\n" not in text


def test_a_missing_tool_is_told_with_what_to_install() -> None:
    outcome = run(Check(("no-such-tool",), install="Install it."))
    assert outcome.missing
    assert report(outcome) == "MISSING no-such-tool is not here. Install it."


def test_one_failure_does_not_stop_the_others() -> None:
    outcomes = list(run_all([python("raise SystemExit(1)"), python("pass"), python("pass")]))
    assert sorted(outcome.ok for outcome in outcomes) == [False, True, True]


@pytest.mark.parametrize(("in_ci", "code"), [("true", 1), ("", 0)])
def test_a_missing_tool_fails_the_run_in_ci_alone(monkeypatch: pytest.MonkeyPatch, in_ci: str, code: int) -> None:
    monkeypatch.setenv("CI", in_ci)
    monkeypatch.setattr(lint, "standing_checks", lambda _: [Check(("no-such-tool",))])
    assert lint.main() == code
