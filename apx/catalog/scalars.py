"""Plain scalars of YAML, by the core schema of YAML 1.2 (§10.3.2), less what people read differently."""

from __future__ import annotations

import math
import re

_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_READ_IN_TWO_WAYS = re.compile(r"[-+]?0([0-9]+|[xob][0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INT64 = range(-(2**63), 2**63)
_LONGEST_INTEGER = 20
_EXACT_IN_FLOAT = 2**53


class NumberRefused(ValueError):
    """A number that APX does not take; `code` is the mistake's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def resolve_plain(text: str) -> str | int | float | bool | None:
    """Return what a scalar without quotes means. Raises `NumberRefused`."""
    if text[:1] in _NUMBER_STARTS and text:
        return _number(text)
    return _WORDS.get(text, text)


def _number(text: str) -> str | int | float:
    shown = text if len(text) <= _LONGEST_INTEGER * 2 else text[: _LONGEST_INTEGER * 2] + "…"
    if _READ_IN_TWO_WAYS.fullmatch(text):
        message = (
            f"{shown} is one number in YAML 1.1 and another in 1.2: write it in decimal, or in quotes if it is text"
        )
        raise NumberRefused("number-ambiguous", message)
    if _INTEGER.fullmatch(text):
        if len(text) > _LONGEST_INTEGER or int(text) not in _INT64:
            raise NumberRefused("number-too-large", f"{shown} does not fit into 64 bits: write a smaller number")
        return int(text)
    if _NOT_FINITE.fullmatch(text):
        raise NumberRefused("number-not-finite", f"{shown} is not a finite number: write one")
    if not _FLOAT.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        raise NumberRefused("number-not-finite", f"{shown} is not a finite number: write one")
    # 5e2 and 30.0 are integers to a JSON Schema, and so to an editor.
    return int(value) if value.is_integer() and abs(value) < _EXACT_IN_FLOAT else value
