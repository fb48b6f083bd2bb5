"""Documents: JSON Patch, subsets, paths through graphs, ranges."""

from __future__ import annotations

from typing import Any

from apx.policy.builtins.base import (
    ANY,
    ARRAY,
    INTEGER,
    MOST_MEMBERS,
    OBJECT,
    BuiltinError,
    Host,
    RegoSet,
    Unanswerable,
    host,
)
from apx.policy.values import contains, equal

_ABSENT = object()


@host(ANY, ARRAY)
def json_patch(document: Any, operations: list[Any]) -> Any:
    """Apply RFC 6902, with paths as strings or as arrays of steps."""
    for operation in operations:
        fields = OBJECT(operation)
        if "path" not in fields or "op" not in fields:
            raise BuiltinError
        document = _apply(document, fields["op"], _path(fields["path"]), fields)
    if document is _ABSENT:
        raise Unanswerable("json.patch that removes the whole document")  # opa itself panics
    return document


def _apply(document: Any, kind: Any, path: list[Any], fields: dict[str, Any]) -> Any:
    if kind == "remove":
        return _removed(document, path)
    if kind in ("move", "copy"):
        source = _path(_field(fields, "from"))
        value = _at(document, source)
        return _added(_removed(document, source) if kind == "move" else document, path, value)
    if kind == "test":
        if not equal(_at(document, path), _field(fields, "value")):
            raise BuiltinError
        return document
    if kind == "replace":
        document = _removed(document, path)
    elif kind != "add":
        raise BuiltinError
    return _added(document, path, _field(fields, "value"))


def _field(fields: dict[str, Any], name: str) -> Any:
    value = fields.get(name, _ABSENT)
    if value is _ABSENT:
        raise BuiltinError
    return value


def _path(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise BuiltinError
    if value == "":
        return []
    return [step.replace("~1", "/").replace("~0", "~") for step in value.lstrip("/").split("/")]


def _at(document: Any, path: list[Any]) -> Any:
    for step in path:
        document = _child(document, step)
    return document


def _child(document: Any, step: Any) -> Any:
    if isinstance(document, dict) and isinstance(step, str) and step in document:
        return document[step]
    if isinstance(document, list):
        return document[_index(step, len(document) - 1)]
    if isinstance(document, RegoSet):
        raise Unanswerable("json.patch inside a set")
    raise BuiltinError


def _added(document: Any, path: list[Any], value: Any) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if rest:
        return _with(document, step, _added(_child(document, step), rest, value))
    if isinstance(document, dict):
        if not isinstance(step, str):
            raise Unanswerable("json.patch with a key that is not a string")
        return {**document, step: value}
    if isinstance(document, list):
        at = len(document) if step == "-" else _index(step, len(document))
        return [*document[:at], value, *document[at:]]
    if isinstance(document, RegoSet):
        raise Unanswerable("json.patch inside a set")
    raise BuiltinError


def _removed(document: Any, path: list[Any]) -> Any:
    if not path:
        return _ABSENT
    step, rest = path[0], path[1:]
    child = _child(document, step)
    if rest:
        return _with(document, step, _removed(child, rest))
    if isinstance(document, dict):
        return {key: value for key, value in document.items() if key != step}
    at = _index(step, len(document) - 1)
    return [*document[:at], *document[at + 1 :]]


def _with(document: Any, step: Any, value: Any) -> Any:
    if isinstance(document, dict):
        return {**document, step: value}
    at = _index(step, len(document) - 1)
    return [*document[:at], value, *document[at + 1 :]]


def _index(step: Any, most: int) -> int:
    if isinstance(step, str):
        if not (step.isdigit() and step.isascii()) or (len(step) > 1 and step[0] == "0"):
            raise BuiltinError
        step = int(step)
    at = INTEGER(step)
    if not 0 <= at <= most:
        raise BuiltinError
    return at


@host(ANY, ANY)
def object_subset(outer: Any, inner: Any) -> bool:
    """Say whether the second is part of the first, all the way down."""
    if isinstance(outer, list) and isinstance(inner, RegoSet):
        return _covers(outer, inner)
    if type(outer) is not type(inner) or not isinstance(outer, (dict, list, RegoSet)):
        raise BuiltinError
    return _is_subset(outer, inner)


def _covers(outer: list[Any], inner: RegoSet) -> bool:
    """Count matches as opa does, which takes a member that stands twice for two."""
    unmatched = len(inner)
    for item in outer:
        unmatched -= contains(inner, item)
        if unmatched == 0:
            return True
    return False


def _is_subset(outer: Any, inner: Any) -> bool:
    if equal(outer, inner):
        return True
    if isinstance(outer, dict) and isinstance(inner, dict):
        return all(key in outer and _is_subset(outer[key], value) for key, value in inner.items())
    if isinstance(outer, RegoSet) and isinstance(inner, RegoSet):
        return all(contains(outer, member) for member in inner)
    if isinstance(outer, list) and isinstance(inner, list):
        return _has_run(outer, inner)
    return False


def _has_run(outer: list[Any], inner: list[Any]) -> bool:
    starts = range(len(outer) - len(inner) + 1)
    return any(all(map(equal, outer[at : at + len(inner)], inner)) for at in starts)


@host(INTEGER, INTEGER, INTEGER)
def range_step(first: int, last: int, step: int) -> list[int]:
    """Count from one number to another, both included, up or down."""
    if step <= 0:
        raise BuiltinError
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if len(numbers) > MOST_MEMBERS:
        raise Unanswerable(f"numbers.range_step of more than {MOST_MEMBERS} numbers")
    return list(numbers)


DOCUMENTS: dict[str, Host] = {
    "json.patch": json_patch,
    "numbers.range_step": range_step,
    "object.subset": object_subset,
}
