"""What an API server asks of a CustomResourceDefinition's schema, and what it then takes, as Kubernetes' page has it.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/: "Specifying a
structural schema" (rules 1 to 4), "Validation" (what is not supported), "Defaulting", "Field pruning".
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import re2

Schema = dict[str, Any]

JUNCTORS = ("allOf", "anyOf", "oneOf")
NOT_SUPPORTED = frozenset(
    {
        *("definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties", "readOnly"),
        *("writeOnly", "xml", "$ref"),
    }
)
KNOWN = frozenset(
    {
        *("type", "description", "format", "properties", "required", "additionalProperties", "items", "enum"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("pattern", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "default", "nullable"),
        *("title", "example", "not", *JUNCTORS),
    }
)
TYPES = frozenset({"array", "boolean", "integer", "number", "object", "string"})
ONLY_OUTSIDE = frozenset({"description", "type", "default", "additionalProperties", "nullable"})
FREE = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
OBJECT_META = frozenset({"name", "namespace", "labels", "annotations"})
KEYS_RULE = re.compile(r'self\.all\(key, size\(key\) <= (\d+) && key\.matches\((".*")\)\)')
"""The one rule in CEL that we write."""


def violations(schema: Schema, path: str = "") -> Iterator[str]:
    """Yield each place where a schema is not structural, or says what is not supported."""
    if "type" not in schema and not any(schema.get(name) for name in FREE):
        yield f"{path}: no type"
    yield from _words(schema, path)
    if path == ".metadata" and schema.get("properties", {}).keys() - {"name", "generateName"}:
        yield f"{path}: more than name and generateName"
    for junctor in JUNCTORS:
        for one in schema.get(junctor, ()):
            yield from _inside(one, schema, f"{path}.{junctor}")
    if "not" in schema:
        yield from _inside(schema["not"], schema, f"{path}.not")
    if "default" in schema and not server(schema).is_valid(schema["default"]):
        yield f"{path}: the default is not taken"
    for step, below in children(schema):
        yield from violations(below, f"{path}{step}")


def children(schema: Schema) -> Iterator[tuple[str, Schema]]:
    yield from ((f".{name}", one) for name, one in schema.get("properties", {}).items())
    for name, step in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(schema.get(name), dict):
            yield step, schema[name]


def server(schema: Schema) -> Any:
    """Return what takes or refuses as an API server told to be strict about fields does (kubectl's default)."""
    return _Server(_strict(schema))


def defaulted(value: Any, schema: Schema) -> Any:
    """Return a value with the defaults that the server writes into it."""
    if isinstance(value, list):
        return [defaulted(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {})
    missing = {name: one["default"] for name, one in fields.items() if name not in value and "default" in one}
    return {name: defaulted(item, fields[name]) if name in fields else item for name, item in (value | missing).items()}


def _words(schema: Schema, path: str) -> Iterator[str]:
    for word in sorted(schema.keys() & NOT_SUPPORTED):
        yield f"{path}: {word} is not supported"
    for word in sorted(schema.keys() - KNOWN - NOT_SUPPORTED):
        if not word.startswith("x-kubernetes-"):
            yield f"{path}: {word} is unknown"
    yield from (f"{path}: {said}" for wrong, said in _values(schema) if wrong)


def _values(schema: Schema) -> Iterator[tuple[bool, str]]:
    kind, fields = schema.get("type", "string"), schema.keys()
    yield kind not in TYPES, f"type {kind!r}"
    yield schema.get("uniqueItems") is True, "uniqueItems is true"
    yield schema.get("additionalProperties") is False, "additionalProperties is false"
    yield {"properties", "additionalProperties"} <= fields, "properties beside additionalProperties"
    yield kind == "array" and "items" not in fields, "no items"
    for word in ("exclusiveMinimum", "exclusiveMaximum"):
        yield schema.get(word, True) is not True, f"{word} is no truth value"
    yield not _is_re2(schema.get("pattern", "")), "RE2 does not know the pattern"


def _inside(schema: Schema, outside: Schema, path: str) -> Iterator[str]:
    for word in sorted(schema.keys() & ONLY_OUTSIDE):
        yield f"{path}: {word} stands inside"
    known = dict(children(outside))
    for step, below in children(schema):
        if step in known:
            yield from _inside(below, known[step], f"{path}{step}")
        else:
            yield f"{path}{step}: not said outside"


def _is_re2(pattern: str) -> bool:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True


def _strict(schema: Schema, path: str = "") -> Schema:
    made = copy.copy(schema)
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            made[name] = _strict(schema[name], f"{path}.*")
    if "properties" in schema:
        made["properties"] = {name: _strict(one, f"{path}.{name}") for name, one in schema["properties"].items()}
        if path == ".metadata":
            made["properties"] |= {name: {} for name in OBJECT_META - schema["properties"].keys()}
        made["additionalProperties"] = False
    return made


def _pattern(_: Any, pattern: str, text: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(text, str) and not re2.search(pattern, text):
        yield jsonschema.ValidationError(f"{text!r} is not {pattern}")


def _list_type(_: Any, kind: str, items: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    if kind == "set" and isinstance(items, list) and len({json.dumps(item) for item in items}) != len(items):
        yield jsonschema.ValidationError("a set has an item twice")


def _rules(_: Any, rules: list[dict[str, str]], value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    for rule in rules if isinstance(value, dict) else ():
        found = KEYS_RULE.fullmatch(rule["rule"])
        assert found, f"a rule that this verifier does not know: {rule}"
        if any(len(key) > int(found[1]) or not re2.search(json.loads(found[2]), key) for key in value):
            yield jsonschema.ValidationError(rule["message"])


_extend: Any = jsonschema.validators.extend  # it has no types
# OpenAPI 3.0 has its exclusive bounds from draft 4.
_Server = _extend(
    jsonschema.Draft4Validator,
    {"pattern": _pattern, "x-kubernetes-list-type": _list_type, "x-kubernetes-validations": _rules},
)
