"""Rego values as text, on their way out of and into a module.

opa's `opa_value_dump` writes JSON, and beyond it sets (`{1,2}`, `set()`) and object keys that are not strings.
A number is an `int`, or a `Decimal` that keeps the digits: opa calculates with more of them than a double holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson

_DECODER = json.JSONDecoder()


class Unanswerable(Exception):
    """The host cannot give the answer that opa would give; the evaluation stops rather than go on with another."""


class RegoSet:
    """The members of a set, sorted as opa sorts them (a module keeps them by their hashes)."""

    def __init__(self, members: list[Any]) -> None:
        self.members = sorted(members, key=order)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def parse(text: str) -> Any:
    """Read a dumped value. Raises `Unanswerable` for an object with keys that are not strings."""
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse)
    except ValueError:
        return _parse_rego(text)


def _parse_rego(text: str) -> Any:
    try:
        value, end = _value(text, 0)
    except ValueError as error:
        raise Unanswerable("a value of the module cannot be read") from error
    if end != len(text):
        raise Unanswerable("a value of the module cannot be read")
    return value


def dump(value: Any) -> bytes:
    """Write a value as Rego reads it."""
    if isinstance(value, str):
        return orjson.dumps(value)
    return "".join(_pieces(value)).encode()


def order(value: Any) -> tuple[Any, ...]:
    """Make a key that sorts as Rego: null, booleans, numbers, strings, arrays, objects, sets."""
    for rank, (kind, key) in enumerate(_ORDER):
        if isinstance(value, kind):
            return (rank, key(value))
    raise Unanswerable(f"a {type(value).__name__} has no place among Rego's values")


def equal(one: Any, other: Any) -> bool:
    """Compare as Rego does: 1 equals 1.0, and true does not equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, Decimal)) and isinstance(other, (int, Decimal)):
        return one == other
    if type(one) is not type(other):
        return False
    return _equal_of_a_kind(one, other)


_ORDER: tuple[tuple[Any, Any], ...] = (
    (type(None), bool),
    (bool, bool),
    ((int, Decimal), lambda value: value),
    (str, str.encode),
    (list, lambda value: [order(item) for item in value]),
    (dict, lambda value: [(key.encode(), order(value[key])) for key in sorted(value)]),
    (RegoSet, lambda value: [order(item) for item in value]),
)


def _equal_of_a_kind(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    if isinstance(one, RegoSet):
        return len(one) == len(other) and all(contains(other, member) for member in one)
    return bool(one == other)


def contains(collection: list[Any] | RegoSet, value: Any) -> bool:
    """Say whether a value is among the members."""
    return any(equal(member, value) for member in collection)


def _refuse(constant: str) -> Any:
    raise Unanswerable(f"{constant} is not a value")


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{" + ",".join(f"{_text(str(key))}:{''.join(_pieces(item))}" for key, item in value.items()) + "}"
    elif isinstance(value, RegoSet):
        yield "{" + ",".join("".join(_pieces(item)) for item in value) + "}" if len(value) else "set()"
    elif isinstance(value, (list, tuple)):
        yield "[" + ",".join("".join(_pieces(item)) for item in value) + "]"
    elif isinstance(value, Decimal):
        yield str(value)
    else:
        yield orjson.dumps(value).decode() if isinstance(value, str) else json.dumps(value, allow_nan=False)


def _text(value: str) -> str:
    return orjson.dumps(value).decode()


def _value(text: str, at: int) -> tuple[Any, int]:
    """Read one value, for what JSON does not have; `at` is where it begins."""
    while text[at : at + 1] == " ":
        at += 1
    if text.startswith("set()", at):
        return RegoSet([]), at + 5
    opening = text[at : at + 1]
    if opening == '"':
        found, end = _DECODER.raw_decode(text, at)
        return found, end
    if opening == "[":
        return _items(text, at + 1, "]")
    if opening == "{":
        return _braces(text, at)
    end = at
    while end < len(text) and text[end] not in ",:]}":
        end += 1
    return json.loads(text[at:end], parse_float=Decimal, parse_constant=_refuse), end


def _items(text: str, at: int, closing: str) -> tuple[list[Any], int]:
    items: list[Any] = []
    while text[at : at + 1] != closing:
        item, at = _value(text, at)
        items.append(item)
        if text[at : at + 1] == ",":
            at += 1
    return items, at + 1


def _braces(text: str, at: int) -> tuple[Any, int]:
    if text[at + 1 : at + 2] == "}":
        return {}, at + 2
    _, end = _value(text, at + 1)
    if text[end : end + 1] != ":":
        members, end = _items(text, at + 1, "}")
        return RegoSet(members), end
    found = {}
    at += 1
    while True:
        key, at = _value(text, at)
        if not isinstance(key, str):
            raise Unanswerable("objects with keys that are not strings do not reach builtins of the host")
        found[key], at = _value(text, at + 1)
        if text[at : at + 1] != ",":
            return found, at + 1
        at += 1
