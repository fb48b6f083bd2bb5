"""Operations made ready to judge requests: each schema compiled once, in Rust.

Two validators stand for one schema. The verdict is that of the whole schema, where the library remembers what it has
seen of a value, so that alternatives that recur cost no more than the value is long. The explanation is asked for only
after a verdict, and comes from a coarser schema that has the alternatives and what recurs folded up (`not: {not: …}`):
the library would otherwise write out the errors of every branch, which a hostile body can make as many as it likes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec

from apx.catalog.openapi import keywords
from apx.catalog.openapi.operations import Body, Operation, Operations, Parameter
from apx.catalog.openapi.schemas import Bundle, Schema

_REGEX = jsonschema_rs.RegexOptions(size_limit=4 * 1_048_576)
"""Rust's engine without backtracking: time is linear in the text."""
_FOLDED = ("anyOf", "oneOf")
_LEFT_OUT = ("unevaluatedItems", "unevaluatedProperties")
"""They need what the branches say, which is folded up."""
_MOST_VALUES_FOR_TYPES = 100


class NotCompiled(ValueError):
    """A schema that the library does not take."""


class Ready:
    """A schema that is ready."""

    def __init__(self, bundle: Bundle) -> None:
        """Compile. Raises `NotCompiled`."""
        self.work = bundle.work
        self.names = bundle.names
        self.types = _types(bundle.schema)
        self.item_types = _item_types(bundle.schema)
        self._verdict = _compiled(bundle.schema)
        self._coarse = _coarse(bundle)
        self._explaining: jsonschema_rs.Draft202012Validator | None = None

    def is_valid(self, value: Any) -> bool:
        """Tell whether a value keeps the schema; one that the library cannot read does not."""
        try:
            return self._verdict.is_valid(value)
        except ValueError:
            return False

    def first(self, value: Any) -> jsonschema_rs.ValidationError | None:
        """Return the first error of a value; None where only the whole schema has one."""
        try:
            self._explains().validate(value)
        except jsonschema_rs.ValidationError as error:
            return error
        except ValueError:  # nests deeper than the library writes out
            return None
        return None

    def errors(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
        """Yield the errors of a small value: the library makes all of them at once."""
        try:
            return self._explains().iter_errors(value)
        except ValueError:
            return iter(())

    def _explains(self) -> jsonschema_rs.Draft202012Validator:
        if self._explaining is None:  # half of all schemas are never asked
            self._explaining = _compiled(self._coarse)
        return self._explaining


class ReadyParameter(msgspec.Struct, frozen=True):
    """A parameter, ready to be judged."""

    parameter: Parameter
    schema: Ready


class ReadyBody(msgspec.Struct, frozen=True):
    """A body, ready to be judged."""

    body: Body
    content: dict[str, Ready | None]


class ReadyOperation(msgspec.Struct, frozen=True):
    """An operation, ready to judge requests."""

    parameters: tuple[ReadyParameter, ...]
    body: ReadyBody | None


def compile_operations(operations: Operations) -> dict[tuple[str, str], ReadyOperation]:
    """Compile every schema. Raises `NotCompiled`."""
    compiler = _Compiler()
    return {key: compiler.operation(operation) for key, operation in operations.items()}


class _Compiler:
    """Compiles each schema once, however many operations share it."""

    def __init__(self) -> None:
        self._known: dict[str, Ready] = {}

    def operation(self, operation: Operation) -> ReadyOperation:
        body = operation.body
        return ReadyOperation(
            tuple(ReadyParameter(one, self._ready(one.schema)) for one in operation.parameters),
            None
            if body is None
            else ReadyBody(body, {kind: self._ready(one) if one else None for kind, one in body.content}),
        )

    def _ready(self, bundle: Bundle) -> Ready:
        key = json.dumps(bundle.schema)
        if key not in self._known:
            self._known[key] = Ready(bundle)
        return self._known[key]


def _compiled(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, pattern_options=_REGEX, validate_formats=False, offline=True, mask="the value"
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise NotCompiled(f"a schema cannot be compiled ({str(error).partition(chr(10))[0]})") from error


def _coarse(bundle: Bundle) -> dict[str, Any]:
    definitions = bundle.schema["$defs"]
    folded = {name: _fold(schema, name, bundle.cyclic) for name, schema in definitions.items()}
    return {"$ref": bundle.schema["$ref"], "$defs": folded}


def _fold(schema: Schema, name: str, cyclic: frozenset[str]) -> Schema:
    if isinstance(schema, bool):
        return schema
    made: dict[str, Any] = {}
    folded: list[Schema] = []
    for keyword, part in schema.items():
        if keyword in _FOLDED or (keyword == "$ref" and f"{name}>{part}" in cyclic):
            folded.append({"not": {"not": {keyword: part}}})
        elif keyword in ("items", "additionalProperties", "contains", "propertyNames", "then", "else"):
            made[keyword] = _fold(part, name, cyclic)
        elif keyword in ("allOf", "prefixItems"):
            made[keyword] = [_fold(one, name, cyclic) for one in part]
        elif keyword in ("properties", "patternProperties", "dependentSchemas"):
            made[keyword] = {key: _fold(one, name, cyclic) for key, one in part.items()}
        elif keyword not in _LEFT_OUT:
            made[keyword] = part
    if folded:
        made["allOf"] = [*made.get("allOf", []), *folded]
    return made


def _types(schema: dict[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema speaks of; all when it speaks of none."""
    return _types_of(schema, schema) or frozenset(keywords.TYPES)


def _item_types(schema: dict[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for one in _alternatives(schema, schema):
        if isinstance(one.get("items"), dict):
            found |= _types_of(one["items"], schema)
    return frozenset(found or keywords.TYPES)


def _types_of(schema: dict[str, Any], root: dict[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for one in _alternatives(schema, root):
        said = one.get("type", [])
        found.update([said] if isinstance(said, str) else said)
    return frozenset(found)


def _alternatives(schema: Schema, root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas that look at the same value, as many as tell its types."""
    waiting, seen = [schema], 0
    while waiting and seen < _MOST_VALUES_FOR_TYPES:
        one = waiting.pop()
        seen += 1
        if isinstance(one, dict):
            yield one
            if "$ref" in one:
                waiting.append(root["$defs"][one["$ref"].rpartition("/")[2]])
            waiting += [part for keyword in ("allOf", "anyOf", "oneOf") for part in one.get(keyword, ())]
