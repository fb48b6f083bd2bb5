"""JSON bodies that a policy is shown: one reading only, the same for policy and backend.

What RFC 8259 leaves open is decided strictly: UTF-8 without a byte-order mark, no name twice in one object, no lone
surrogates, no NaN, numbers within a double's range, 512 levels at most.
"""

from __future__ import annotations

import json
from typing import Any

_MOST_LEVELS = 512


def is_json_type(content_type: str) -> bool:
    """Tell whether a media type stands for JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def has_one_reading(body: bytes) -> bool:
    """Tell whether `body` is JSON that every parser reads alike. Never raises."""
    try:
        text = body.decode()
        if _deeper_than(text, _MOST_LEVELS):
            return False
        value = _decoder.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _deeper_than(text: str, most: int) -> bool:
    """Tell whether the text could nest deeper than `most`; counts brackets in strings too, as a bound."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            if depth > most:
                return True
        elif character in "]}":
            depth -= 1
    return False


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


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant)
