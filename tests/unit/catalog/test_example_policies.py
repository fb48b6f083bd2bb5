from __future__ import annotations

import pytest

from apx.catalog.load import load_catalog
from apx.policy.compile import compile_policy
from apx.policy.opa import Opa
from apx.policy.test import run_tests
from tests.unit.catalog.conftest import EXAMPLE

POLICIES = EXAMPLE / "policies"
PACKAGES = sorted(product.spec.policy.package for product in load_catalog(EXAMPLE).products.values())


@pytest.fixture(scope="module")
def opa() -> Opa:
    return Opa.find()


def test_the_example_s_policies_are_formatted(opa: Opa) -> None:
    assert opa.run(["fmt", "--list", str(POLICIES)]).stdout == b""


def test_the_example_s_policies_pass_the_strict_check(opa: Opa) -> None:
    assert opa.run(["check", "--strict", str(POLICIES)]).status == 0


@pytest.mark.parametrize("package", PACKAGES)
def test_each_policy_has_tests_that_reach_nine_lines_of_ten(opa: Opa, package: str) -> None:
    report = run_tests(opa, POLICIES, package)
    assert report.ok
    assert report.coverage_percent >= 90


@pytest.mark.parametrize("package", PACKAGES)
def test_no_policy_of_the_example_calls_back_into_the_host_or_looks_at_a_clock(opa: Opa, package: str) -> None:
    compiled = compile_policy(opa, POLICIES, package)
    assert (compiled.builtins, compiled.pure, compiled.warnings) == ((), True, ())
