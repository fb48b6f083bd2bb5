"""Repair of what a schema refuses, so that one wrong field does not hide the mistakes of the others.

Nothing that was repaired is ever used: a tree with a mistake has no catalog.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from apx.catalog.explain import Schema
from apx.catalog.mistakes import Mistake, Path
from apx.catalog.resources import Resource
from apx.catalog.schema import schema_of


class Fault(msgspec.Struct, frozen=True):
    """One place where a document departs from its schema."""

    path: Path
    schema: Schema | None
    """Of what should stand there; None when nothing should."""
    mistake: Mistake


def repair(value: Any, faults: Sequence[Fault], kind: type[Resource]) -> Any:
    """Return a copy with something acceptable in each wrong place; outer places first."""
    definitions = schema_of(kind)["$defs"]
    repaired = copy.deepcopy(value)
    for fault in sorted(faults, key=lambda fault: len(fault.path)):
        if not fault.path:
            return acceptable(fault.schema or {}, definitions)
        around, last = _step(repaired, fault.path[:-1]), fault.path[-1]
        if isinstance(around, dict):
            around.pop(last, None)
            around |= {} if fault.schema is None else {last: acceptable(fault.schema, definitions)}
        elif isinstance(around, list) and isinstance(last, int) and last < len(around):
            around[last] = acceptable(fault.schema or {}, definitions)
    return repaired


def acceptable(schema: Schema, definitions: dict[str, Schema]) -> Any:
    """Return the default, an example, or the least that a schema takes."""
    known = [schema["default"]] if "default" in schema else schema.get("enum") or schema.get("examples")
    if known:
        return copy.deepcopy(known[0])
    if "$ref" in schema:
        return acceptable(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    match schema.get("type"):
        case "object":
            return {name: acceptable(schema["properties"][name], definitions) for name in schema.get("required", ())}
        case "array":
            return [acceptable(schema["items"], definitions)] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
    return {"string": "", "boolean": False}.get(str(schema.get("type")))


def _step(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value
