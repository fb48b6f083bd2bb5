"""What all tests share: which of them may run side by side (pytest-xdist)."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = frozenset({"contract", "e2e", "stacks"})
"""Folders whose tests share what is dear to start, emulators or synthesised stacks, or want a processor each."""


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # xdist says no types of it
    """Keeps the tests of such a folder in one process, and elsewhere those of a file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].removeprefix("tests/")
        folder = file.partition("/")[0]
        return folder if folder in TOGETHER else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    return ByFolder(config, log)
