"""The keywords of JSON Schema 2020-12 that APX reads in an OpenAPI document, by what they do to a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import re2

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
LONGEST_PATTERN = 2000

HERE = frozenset({"not", "if", "then", "else"})
HERE_LISTS = frozenset({"allOf", "anyOf", "oneOf"})
HERE_MAPS = frozenset({"dependentSchemas"})
"""Those whose schemas look at the same value."""
INSIDE = frozenset(
    {"additionalProperties", "items", "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"}
)
INSIDE_LISTS = frozenset({"prefixItems"})
INSIDE_MAPS = frozenset({"properties", "patternProperties"})
"""Those whose schemas look at a part of the value."""
REFUSED = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"})
"""They change what a `$ref` means."""

_RE2 = re2.Options()
_RE2.log_errors = False
_RE2.max_mem = 1_048_576


def pattern_refused(pattern: str) -> str | None:
    """Say why RE2 does not take a pattern; None when it does."""
    if len(pattern) > LONGEST_PATTERN:
        return f"it has more than {LONGEST_PATTERN} characters"
    try:
        re2.compile(pattern, _RE2)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return _is_number(value) and value >= 0 and value == int(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_type(value: Any) -> bool:
    return value in TYPES if isinstance(value, str) else _are_texts(value) and bool(value) and set(value) <= set(TYPES)


def _are_dependencies(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_are_texts, value.values()))


_NUMBER: tuple[Callable[[Any], bool], str] = (_is_number, "a number")
_COUNT: tuple[Callable[[Any], bool], str] = (_is_count, "a whole number of at least 0")
ASSERTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, "one or several of " + ", ".join(TYPES)),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list of values"),
    "const": (lambda _: True, "a value"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number over 0"),
    **dict.fromkeys(("maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"), _NUMBER),
    **dict.fromkeys(("maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"), _COUNT),
    **dict.fromkeys(("minContains", "maxContains"), _COUNT),
    "pattern": (lambda value: isinstance(value, str), "a text"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "required": (_are_texts, "a list of names"),
    "dependentRequired": (_are_dependencies, "a mapping of lists of names"),
}
"""What each that is not made of schemas must be."""
