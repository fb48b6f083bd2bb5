"""What a client is told of a request that departs from a schema: where, and what the schema asks; nothing it sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import jsonschema_rs
import msgspec

from apx.catalog.openapi.compile import Ready

_SMALL_BODY_BYTES = 2048
"""The library makes all errors of a value at once, 15 µs each: of a longer body only the first is told."""
_LONGEST_POINTER = 200


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a request departs from the document."""

    place: Literal["path", "query", "header", "body"] = msgspec.field(name="in")
    pointer: str
    """JSON Pointer (RFC 6901) in the body, or to the parameter; names that the schema does not have are `*`."""
    detail: str


def schema_departures(schema: Ready, value: object, size_bytes: int) -> Iterator[Departure]:
    """Yield where a body departs from its schema: one departure at least."""
    if size_bytes <= _SMALL_BODY_BYTES:
        some = False
        for error in schema.errors(value):
            some = True
            yield departure_of(error, "body", schema.names)
        if some:
            return
    yield departure_of(schema.first(value), "body", schema.names)


def departure_of(
    error: jsonschema_rs.ValidationError | None,
    place: Literal["path", "query", "header", "body"],
    names: Collection[str],
    above: str = "",
) -> Departure:
    """Return an error of the library as the client is told it; None where only the whole schema has one."""
    if error is None:
        return Departure(place=place, pointer=above, detail=_OTHERWISE)
    pointer = above + _pointer(error.instance_path, names)
    return Departure(place=place, pointer=pointer, detail=_detail(error.kind))


def escaped(name: str) -> str:
    """Return a name as a step of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


_OTHERWISE = "does not keep the schema"


def _pointer(path: Sequence[str | int], names: Collection[str]) -> str:
    steps = (str(step) if isinstance(step, int) else escaped(step) if step in names else "*" for step in path)
    pointer = "".join(f"/{step}" for step in steps)
    return pointer if len(pointer) <= _LONGEST_POINTER else pointer[:_LONGEST_POINTER] + "…"


def _detail(kind: jsonschema_rs.ValidationErrorKind) -> str:
    match kind:
        case jsonschema_rs.ValidationErrorKind.Type(types=types):
            return f"is not of type {' or '.join(types)}"
        case jsonschema_rs.ValidationErrorKind.Required(property=name):
            return f"lacks '{name}'"
        case jsonschema_rs.ValidationErrorKind.Not(schema=schema):
            return _folded(schema)
        case _:
            limit = getattr(kind, "limit", getattr(kind, "multiple_of", None))
            said = _SAID.get(kind.name, f"does not keep {kind.name}")
            return said if limit is None else f"{said} {limit}"


def _folded(schema: object) -> str:
    """Say what a `not` stands for that the coarser schema folds up."""
    inner = schema.get("not") if isinstance(schema, dict) and len(schema) == 1 else None
    if isinstance(inner, dict) and "anyOf" in inner:
        return "fits none of the alternatives"
    if isinstance(inner, dict) and "oneOf" in inner:
        return "does not fit exactly one of the alternatives"
    return _OTHERWISE


_SAID = {
    "additionalProperties": "has a field that is not in the schema",
    "const": "is not the value that is asked for",
    "contains": "has no item of the kind that is asked for",
    "enum": "is none of the values that may stand here",
    "exclusiveMaximum": "is not under",
    "exclusiveMinimum": "is not over",
    "falseSchema": "may not stand here",
    "false": "may not stand here",
    "maxItems": "has more items than",
    "maxLength": "is longer than",
    "maxProperties": "has more fields than",
    "maximum": "is over",
    "minItems": "has fewer items than",
    "minLength": "is shorter than",
    "minProperties": "has fewer fields than",
    "minimum": "is under",
    "multipleOf": "is no multiple of",
    "pattern": "does not have the form that is asked for",
    "propertyNames": "has a field whose name is not of the form that is asked for",
    "uniqueItems": "has the same item twice",
}
