from __future__ import annotations

from pathlib import Path

import pytest

from apx.errors import PolicyRejected
from apx.policy.opa import Opa
from apx.policy.test import packages, run_tests

TREE = {
    "a/policy.rego": 'package a\n\ndecision := {"allow": true, "reason": "ok"} if input.x\n\nunused if input.y\n',
    "a/policy_test.rego": (
        'package a_test\n\ntest_allowed if data.a.decision.allow with input as {"x": true}\n\n'
        "todo_test_later if false\n"
    ),
    "b/policy.rego": 'package b\n\ndecision := {"allow": false, "reason": "no"}\n',
    "b/policy_test.rego": 'package b_test\n\ntest_wrong if {\n\tprint("seen")\n\tdata.b.decision.allow\n}\n',
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, content in TREE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_report_is_of_the_package_alone(opa: Opa, tree: Path) -> None:
    report = run_tests(opa, tree, "a")
    assert (report.passed, report.failed, report.skipped, report.ok) == (1, (), 1, True)
    assert 0 < report.coverage_percent < 100
    assert [(line.file, line.line) for line in report.uncovered] == [(f"{tree}/a/policy.rego", 5)]


def test_a_failure_says_where_and_what_it_printed(opa: Opa, tree: Path) -> None:
    (failed,) = run_tests(opa, tree, "b").failed
    assert str(failed).startswith(f"{tree}/b/policy_test.rego:3: b_test.test_wrong: ")
    assert "seen" in failed.message


def test_all_packages_are_tested_when_none_is_named(opa: Opa, tree: Path) -> None:
    report = run_tests(opa, tree)
    assert (report.passed, len(report.failed), report.ok) == (1, 1, False)
    assert packages(tree) == ["a", "b"]


def test_a_package_without_tests_is_not_ok(opa: Opa, tree: Path) -> None:
    (tree / "b" / "policy_test.rego").unlink()
    report = run_tests(opa, tree, "b")
    assert (report.passed, report.failed, report.ok) == (0, (), False)


def test_modules_that_do_not_compile_are_rejected(opa: Opa, tree: Path) -> None:
    (tree / "a" / "policy.rego").write_text("package a\ndecision := f(1)\n")
    with pytest.raises(PolicyRejected, match=r"a/policy\.rego:2"):
        run_tests(opa, tree, "a")
