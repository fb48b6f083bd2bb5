"""One synthesis for each environment and number of regions, shared by all tests of the stacks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.stacks.plans import ENVIRONMENTS, PYTHON, Plan, synthesise


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Plan]:
    if not PYTHON.exists():
        pytest.fail("The stacks' environment is not here: run `./dev synth` once, which installs it.")

    @cache
    def plan(environment: str, regions: int) -> Plan:
        return synthesise(environment, regions, tmp_path_factory.mktemp(f"{environment}-{regions}"))

    return plan


@pytest.fixture(
    scope="session",
    params=[(name, regions) for name in ENVIRONMENTS for regions in (1, 3)],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def plan(request: pytest.FixtureRequest, planned: Callable[[str, int], Plan]) -> Plan:
    """Return each environment in one region and in three."""
    return planned(*request.param)


@pytest.fixture(scope="session")
def prod(planned: Callable[[str, int], Plan]) -> Plan:
    return planned("prod", 1)


@pytest.fixture(scope="session")
def planned_regions(planned: Callable[[str, int], Plan]) -> dict[str, Plan]:
    return {"one": planned("prod", 1), "three": planned("prod", 3)}
