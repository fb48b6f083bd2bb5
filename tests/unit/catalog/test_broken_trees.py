from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.catalog.broken_trees import BASE, NAMES, expected_file, found, lay_out


def test_the_base_under_every_broken_tree_is_right() -> None:
    assert found(BASE) == ""


@pytest.mark.parametrize("name", NAMES)
def test_each_mistake_is_named_with_its_place_and_its_way_out(name: str, tmp_path: Path) -> None:
    expected = expected_file(name).read_text()
    actual = found(lay_out(name, tmp_path))
    assert actual == expected, f"to accept: python -m tests.unit.catalog.broken_trees {name}"


def test_every_line_is_a_place_a_message_with_a_way_out_and_a_code() -> None:
    lines = [line for name in NAMES for line in expected_file(name).read_text().splitlines()]
    shape = re.compile(
        r"gitops(/[^:]+)?:[1-9]\d*:[1-9]\d*: .+: .+ \[[a-z0-9]+(-[a-z0-9]+)*\]|.*did you mean '.+'\? \[[a-z-]+\]"
    )
    assert [line for line in lines if not shape.fullmatch(line)] == []
