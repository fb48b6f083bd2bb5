"""What every host builtin shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class BuiltinError(Exception):
    """The builtin has no answer for these operands: the expression is undefined, as in opa."""


class BuiltinContext(msgspec.Struct):
    """What a builtin may know beside its operands."""

    now_ns: int
    """Nanoseconds since the epoch, the same throughout one decision."""


Host = Callable[..., Any]
"""`(context, *operands) -> value`."""
