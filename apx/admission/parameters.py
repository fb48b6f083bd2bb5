"""Parameters as the text of a request has them, read as JSON values by what their schemas speak of.

OpenAPI's styles: lists repeat their name, or stand in one value between commas, blanks or bars. A text that can be read
in several ways (`7` where a number or a text may stand) is held against the schema in each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from apx.admission.bodies import read_json
from apx.catalog.openapi.compile import ReadyParameter

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,300})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_WORDS = {"true": True, "false": False}
_LONGEST_NUMBER = 400


def readings(ready: ReadyParameter, values: Sequence[str]) -> list[Any]:
    """Return what a parameter's values may mean, the likeliest first; none when they mean nothing."""
    parameter, types = ready.parameter, ready.schema.types
    if parameter.is_json:
        return _json(values)
    found: list[Any] = []
    if "array" in types:
        items = values if parameter.separator is None else [part for one in values for part in _split(ready, one)]
        found.append([_scalars(one, ready.schema.item_types)[0] for one in items])
    if len(values) == 1 and types - {"array"}:
        scalars = _scalars(values[0], types)
        found = [*scalars, *found] if len(types) == _ALL_TYPES else [*found, *scalars]
    return found


_ALL_TYPES = 7
"""A schema that speaks of no type: a list is the least likely."""


def _split(ready: ReadyParameter, value: str) -> list[str]:
    return value.split(ready.parameter.separator) if value else []


def _scalars(text: str, types: Collection[str]) -> list[Any]:
    found: list[Any] = []
    if "integer" in types or "number" in types:
        found += _number(text)
    if "boolean" in types and text in _WORDS:
        found.append(_WORDS[text])
    if "null" in types and text in ("", "null"):
        found.append(None)
    return [*found, text]


def _number(text: str) -> list[int | float]:
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if match is None:
        return []
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return []
    return [value if match[2] or match[3] else int(text)]


def _json(values: Sequence[str]) -> list[Any]:
    try:
        return [read_json(values[0].encode())] if len(values) == 1 else []
    except ValueError:
        return []
