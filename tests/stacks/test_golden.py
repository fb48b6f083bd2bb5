"""What matters of each stack of prod, and nothing else: `golden/<stack>.yaml` holds parts that must be there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stacks.plans import Plan

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.yaml"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_stack_has_what_matters(path: Path, prod: Plan) -> None:
    wanted = yaml.safe_load(path.read_text())
    assert list(missing(wanted, prod.stacks[path.stem].get("resource", {}))) == []


def test_every_stack_has_its_golden_file(prod: Plan) -> None:
    assert {path.stem for path in GOLDEN} == set(prod.stacks)


def missing(wanted: Any, found: Any, where: str = "") -> Iterator[str]:
    """Yield each part of `wanted` that `found` does not have. A list holds each wanted item somewhere, in any order."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, part in wanted.items():
            if name not in found:
                yield f"{where}.{name} is not there, only {sorted(found)}"
            else:
                yield from missing(part, found[name], f"{where}.{name}")
    elif isinstance(wanted, list) and isinstance(found, list):
        for part in wanted:
            if not any(not list(missing(part, item)) for item in found):
                yield f"{where}: no item is {part!r} in {found!r}"
    elif wanted != found:
        yield f"{where} is {found!r}, not {wanted!r}"
