"""What all tests share: which of them may run side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ONE_BY_ONE = frozenset({"contract", "e2e", "stacks"})
"""Folders whose tests share what is dear to start, emulators or synthesised stacks, or want a processor each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of such a folder in one process, and elsewhere those of a file (pytest-xdist, `loadgroup`)."""
    for item in items:
        file = item.path.relative_to(TESTS)
        group = file.parts[0] if file.parts[0] in ONE_BY_ONE else file.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
