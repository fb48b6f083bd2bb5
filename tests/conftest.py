"""What all tests share: which of them may run side by side (pytest-xdist)."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {"contract": 1, "stacks": 1, "e2e": 2}
"""How many folders deep tests share what is dear to start: emulators, synthesised stacks, a platform."""


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist says no types of it
    """Keeps the tests of such a folder in one process, and elsewhere those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        parts = nodeid.partition("::")[0].removeprefix("tests/").split("/")
        return "/".join(parts[: TOGETHER.get(parts[0])])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    return ByFolder(config, log)
