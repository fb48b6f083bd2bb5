"""From a document to its resource: fields, types and bounds.

The structs decide, at the speed of C. Only a file that they refuse is held against the JSON Schema made from them,
which finds all mistakes instead of the first, each with its path.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any, Generic, TypeVar

import jsonschema
import msgspec

from apx.catalog.document import Document
from apx.catalog.mistakes import MOST_MISTAKES, Mistake, Path, did_you_mean, show, show_path
from apx.catalog.resources import OrgResource, PlanResource, ProductResource, Resource
from apx.catalog.schema import schema_of

R = TypeVar("R", ProductResource, PlanResource, OrgResource)


class Structured(msgspec.Struct, Generic[R], frozen=True):
    """What a document came to."""

    resource: R | None
    """None when too much is wrong to look further."""
    mistakes: list[Mistake]
    """With any, the resource is what remained after leaving the wrong parts out."""


def structure(document: Document, kind: type[R]) -> Structured[R]:
    """Read a document as one kind of resource."""
    if not document.has_null:
        try:
            resource = msgspec.convert(document.value, kind)
        except msgspec.ValidationError:
            pass
        else:
            if not _schema_asks_more(resource):
                return Structured(resource, [])
    found = list(_compare(document, kind))
    remaining = _without(document.value, [path for path, _ in found])
    try:
        return Structured(msgspec.convert(remaining, kind), [mistake for _, mistake in found])
    except msgspec.ValidationError as error:
        mistakes = [mistake for _, mistake in found]
        return Structured(None, mistakes or [document.mistake((), "malformed", f"{error}: correct it")])


def _schema_asks_more(resource: Resource) -> bool:
    """Whether there is what a struct takes and its schema does not: repeated items, content that loading fills in."""
    match resource:
        case ProductResource(spec=spec):
            jwt = spec.auth.jwt
            lists = [spec.plans, spec.policy.headers, spec.backend.retry.on, *(route.methods for route in spec.routes)]
            lists += [jwt.audiences] if jwt else []
            return any(len(set(items)) != len(items) for items in lists) or bool(jwt and jwt.jwks)
        case OrgResource(spec=spec):
            return len(set(spec.contacts)) != len(spec.contacts)
    return False


@cache
def _validator(kind: type[Resource]) -> Any:
    return jsonschema.Draft202012Validator(schema_of(kind))


def _compare(document: Document, kind: type[Resource]) -> Iterator[tuple[Path, Mistake]]:
    """Yield each place where the document departs from the schema, once."""
    seen: set[tuple[Path, str]] = set()
    for error in _validator(kind).iter_errors(document.value):
        for path, code, message, at_key in _explain(error):
            # A text that is empty is malformed too: one place, one mistake.
            place = (path, code if code in _MANY_AT_ONE_PLACE else "")
            if place not in seen:
                seen.add(place)
                shown = f"{show_path(path)}: {message}" if path else message
                yield path, document.mistake(path, code, shown, at_key=at_key)
        if len(seen) > MOST_MISTAKES:
            return


_MANY_AT_ONE_PLACE = frozenset({"missing-field", "unknown-field"})
_MOST_UNKNOWN = 20


def _explain(error: Any) -> Iterator[tuple[Path, str, str, bool]]:
    path, given = tuple(error.absolute_path), error.instance
    at_key = "propertyNames" in error.absolute_schema_path
    if at_key:
        path = (*path, given)
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            for field in [field for field in given if field not in known][:_MOST_UNKNOWN]:
                yield (*path, field), "unknown-field", f"there is no such field{did_you_mean(field, known)}", True
        case "required":
            for field in error.validator_value:
                if field not in given:
                    yield (*path, field), "missing-field", "this field is missing: add it", False
        case "uniqueItems":
            for at, item in enumerate(given):
                if item in given[:at]:
                    yield (*path, at), "duplicate-item", f"{show(item)} stands here a second time: remove it", False
        case validator:
            code, message = _bound(validator, given, error.schema)
            yield path, code, message, at_key


def _bound(validator: str, given: Any, schema: dict[str, Any]) -> tuple[str, str]:
    match validator:
        case "type":
            return "wrong-type", _wrong_type(given, schema["type"])
        case "enum" if not isinstance(given, str):
            return "wrong-type", _wrong_type(given, "string")
        case "enum":
            return "not-a-choice", f"{show(given)} is not one of the choices{did_you_mean(given, schema['enum'])}"
        case "pattern":
            return "malformed", f"{show(given)} is not right: it must be {schema['patternErrorMessage']}"
        case "minLength" | "minItems" | "maxLength" | "maxItems" | "maxProperties":
            short = validator.startswith("min")
            length, bound = ("short", "least") if short else ("long", "most")
            return f"too-{length}", f"this is too {length}: give at {bound} {schema[validator]}"
    return "out-of-range", f"{given} is out of range: give a number {_range(schema)}"


_TYPES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "array": "a list",
    "object": "a mapping",
}


def _wrong_type(given: Any, wanted: str) -> str:
    if wanted == "string" and isinstance(given, int | float):
        return f'{show(given)} is not text: write it in quotes, "{show(given)}"'
    way_out = "give it or leave the field out" if given is None else f"write {_TYPES[wanted]}"
    return f"{show(given)} is not {_TYPES[wanted]}: {way_out}"


def _range(schema: dict[str, Any]) -> str:
    low = f"above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else f"from {schema['minimum']}"
    high = f"below {schema['exclusiveMaximum']}" if "exclusiveMaximum" in schema else f"up to {schema['maximum']}"
    return f"{low} {high}"


def _without(value: Any, paths: list[Path]) -> Any:
    """Return a copy without the fields at `paths`; for a list's item without the list, so that no index moves."""
    remaining = copy.deepcopy(value)
    for path in paths:
        field = _field(path)
        around = remaining
        for step in field[:-1]:
            around = around.get(step) if isinstance(around, dict) else _item(around, step)
        if field and isinstance(around, dict):
            around.pop(field[-1], None)
    return remaining


def _field(path: Path) -> Path:
    return _field(path[:-1]) if path and isinstance(path[-1], int) else path


def _item(around: Any, step: str | int) -> Any:
    return around[step] if isinstance(around, list) and isinstance(step, int) and step < len(around) else None
