"""What every host builtin shares: operands are checked as opa checks them, and what is wrong is undefined."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from apx.policy.values import RegoSet, Unanswerable

__all__ = [
    "ANY",
    "ARRAY",
    "INTEGER",
    "NUMBER",
    "OBJECT",
    "TEXT",
    "BuiltinContext",
    "BuiltinError",
    "Host",
    "RegoSet",
    "Unanswerable",
    "host",
]

MOST_MEMBERS = 65_536
"""Longest array or set that a builtin makes; more would only be another way to run out of time and memory."""


class BuiltinError(Exception):
    """The builtin has no answer for these operands: the expression is undefined, as in opa."""


class BuiltinContext(msgspec.Struct):
    """What a builtin may know beside its operands."""

    now_ns: int
    """Nanoseconds since the epoch, the same throughout one decision."""


Host = Callable[..., Any]
"""`(context, *operands) -> value`. Raises `BuiltinError`, and `Unanswerable` where it cannot agree with opa."""
Operand = Callable[[Any], Any]


def ANY(value: Any) -> Any:  # noqa: N802  reads as a kind in the tables
    """Take any value."""
    return value


def TEXT(value: Any) -> str:  # noqa: N802
    """Take a string."""
    if isinstance(value, str):
        return value
    raise BuiltinError


def NUMBER(value: Any) -> int | Decimal:  # noqa: N802
    """Take a number."""
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return value
    raise BuiltinError


def INTEGER(value: Any) -> int:  # noqa: N802
    """Take a number without a fraction."""
    number = NUMBER(value)
    if isinstance(number, int):
        return number
    if abs(number.adjusted()) < 40 and number == number.to_integral_value():  # noqa: PLR2004  2^127 has 39 digits
        return int(number)
    raise BuiltinError


def ARRAY(value: Any) -> list[Any]:  # noqa: N802
    """Take an array."""
    if isinstance(value, list):
        return value
    raise BuiltinError


def OBJECT(value: Any) -> dict[str, Any]:  # noqa: N802
    """Take an object."""
    if isinstance(value, dict):
        return value
    raise BuiltinError


def host(*operands: Operand) -> Callable[[Callable[..., Any]], Host]:
    """Check and convert operands in front of a function that needs no context."""

    def decorate(function: Callable[..., Any]) -> Host:
        def called(_: BuiltinContext, *values: Any) -> Any:
            return function(*(check(value) for check, value in zip(operands, values, strict=True)))

        called.__doc__ = function.__doc__
        return called

    return decorate
