"""What a departure from the JSON Schema is called, and the way out of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from apx.catalog.mistakes import Path, did_you_mean, show

Schema = dict[str, Any]

_MOST_NAMED = 20


def explain(error: Any) -> Iterator[tuple[Path, Schema | None, str, str]]:
    """Yield (path, the schema of what should be there or None when nothing should, code, message) for an error."""
    path, given, schema = tuple(error.absolute_path), error.instance, error.schema
    match error.validator:
        case "additionalProperties":
            known = schema["properties"]
            for field in [field for field in given if field not in known][:_MOST_NAMED]:
                yield (*path, field), None, "unknown-field", f"there is no such field{did_you_mean(field, known)}"
        case "required":
            for field in (field for field in error.validator_value if field not in given):
                yield (*path, field), schema["properties"][field], "missing-field", "this field is missing: add it"
        case "uniqueItems":
            for at in repeated(given)[:_MOST_NAMED]:
                message = f"{show(given[at])} stands here a second time: remove it"
                yield (*path, at), schema.get("items", {}), "duplicate-item", message
        case validator if "propertyNames" in error.absolute_schema_path:
            yield (*path, given), None, *_bound(validator, given, schema)
        case validator:
            yield path, schema, *_bound(validator, given, schema)


def repeated(items: list[Any]) -> list[int]:
    """Return where an item stands that stood before."""
    first: dict[bytes, int] = {}
    return [at for at, item in enumerate(items) if first.setdefault(msgspec.json.encode(item), at) != at]


def _bound(validator: str, given: Any, schema: Schema) -> tuple[str, str]:
    shown = "the value (not shown)" if schema.get("writeOnly") else show(given)
    match validator:
        case "type":
            return "wrong-type", _wrong_type(given, schema["type"], shown)
        case "enum" if not isinstance(given, str):
            return "wrong-type", _wrong_type(given, "string", shown)
        case "enum":
            return "not-a-choice", f"{shown} is not one of the choices{did_you_mean(given, schema['enum'])}"
        case "pattern":
            return "malformed", f"{shown} is not right: it must be {schema['patternErrorMessage']}"
        case _ if validator in _COUNTED:
            return _count(validator, schema[validator])
    return "out-of-range", f"{shown} is out of range: give a number {_range(schema)}"


_COUNTED = {
    "minLength": "character",
    "maxLength": "character",
    "minItems": "item",
    "maxItems": "item",
    "maxProperties": "entry",
}


def _count(validator: str, bound: int) -> tuple[str, str]:
    length, side = ("short", "least") if validator.startswith("min") else ("long", "most")
    things = _COUNTED[validator] if bound == 1 else f"{_COUNTED[validator]}s".replace("ys", "ies")
    return f"too-{length}", f"this is too {length}: give at {side} {bound} {things}"


_TYPES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


def _wrong_type(given: Any, wanted: str, shown: str) -> str:
    what = _TYPES[wanted]
    match given:
        case None:
            return f"nothing stands where {what} is asked for: give it or leave the field out"
        case bool() | int() | float() if wanted == "string":
            return f"{shown} is not text: write it in quotes"
        case str():
            return f"{shown} is text, not {what}: write {what}"
    return f"{shown} is not {what}: write {what}"


def _range(schema: Schema) -> str:
    low = f"above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else f"from {schema['minimum']}"
    high = f"below {schema['exclusiveMaximum']}" if "exclusiveMaximum" in schema else f"up to {schema['maximum']}"
    return f"{low} {high}"
