from __future__ import annotations

import re
from pathlib import Path

import pytest

from apx.catalog.load import find_mistakes
from tests.unit.catalog.broken_trees import BASE, NAMES, expected_file, found, lay_out


def test_the_base_under_every_broken_tree_is_right() -> None:
    assert found(BASE) == ""


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_is_named_with_its_place_and_its_way_out(name: str, tmp_path: Path) -> None:
    expected = expected_file(name).read_text()
    actual = found(lay_out(name, tmp_path))
    assert actual == expected, f"to accept: python -m tests.unit.catalog.broken_trees {name}"


@pytest.mark.parametrize("name", NAMES)
def test_every_broken_tree_is_refused_as_a_whole(name: str, tmp_path: Path) -> None:
    catalog, mistakes = find_mistakes(lay_out(name, tmp_path))
    assert catalog is None
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mistake.code) for mistake in mistakes)
