from __future__ import annotations

import shutil
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[3] / "gitops"
BASE = Path(__file__).parents[2] / "golden" / "broken_base"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example tree, to be changed."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "gitops"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A copy of the smallest right tree: one product, one plan, one org."""
    return Path(shutil.copytree(BASE, tmp_path / "gitops"))
