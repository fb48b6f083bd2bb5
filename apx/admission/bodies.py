"""JSON bodies that a policy is shown: one reading only, the same for policy and backend.

What RFC 8259 leaves open is decided strictly: UTF-8 without a byte-order mark, no name twice in one object, no lone
surrogates, no NaN, numbers within a double's range, 512 levels at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

_MOST_LEVELS = 512
_TYPE = re.compile(r"[!#$&^_.+a-z0-9-]+/(?:json|[!#$&^_.a-z0-9-]+\+json)")


def is_json_type(content_type: str) -> bool:
    """Tell whether a media type stands for JSON, in UTF-8 as RFC 8259 asks for."""
    if content_type == "application/json":
        return True
    kind, *parameters = content_type.lower().split(";")
    return _TYPE.fullmatch(kind.strip()) is not None and _are_utf8(parameters)


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Tell whether a body is not what its media type says before it was decoded."""
    return headers.get("content-encoding", "identity").strip().lower() != "identity"


def _are_utf8(parameters: Iterable[str]) -> bool:
    pairs = (parameter.partition("=") for parameter in parameters)
    return all(value.strip().strip('"') in ("utf-8", "utf8") for name, _, value in pairs if name.strip() == "charset")


def has_one_reading(body: bytes) -> bool:
    """Tell whether `body` is JSON that every parser reads alike. Never raises."""
    try:
        read_json(body)
    except ValueError:
        return False
    return True


def read_json(body: bytes) -> Any:
    """Return what `body` says, when every parser reads it alike. Raises `ValueError`."""
    text = body.decode()
    if _deeper_than(body, _MOST_LEVELS):
        raise ValueError("it nests too deep")
    try:
        value = (_decoder if _LONG_NUMBER.search(body) is None else _slow_decoder).decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    return value


_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A text, or what begins like one: each byte is looked at once, whatever the body holds."""
_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))


def _deeper_than(body: bytes, most: int) -> bool:
    """Tell whether the body nests deeper than `most`."""
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    brackets = _TEXT.sub(b"", body).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > most


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return names


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is out of range")
    return number


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_LONG_NUMBER = re.compile(rb"[0-9]{309}")
"""The fewest digits of an integer that a double may not hold."""
_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant)
_slow_decoder = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant, parse_int=_whole
)
