"""Rego values as text, on their way into and out of a module.

opa's `opa_value_dump` writes JSON, and beyond it sets (`{1,2}`, `set()`) and object keys that are not strings.
Numbers keep their digits: an integer is an `int` of any size, anything else a `Number` that remembers how it was
written, because opa calculates with more digits than a double holds.
"""

from __future__ import annotations

import json
from typing import Any


class RegoSet(list[Any]):
    """The members of a set, in opa's order."""


def parse(text: str) -> Any:
    """Read a dumped value. Raises `ValueError` when it is not one."""
    return json.loads(text)


def dump(value: Any) -> bytes:
    """Write a value as Rego."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
