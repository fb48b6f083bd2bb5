"""Builtins that opa leaves to the host, with opa's semantics.

Each takes Python values (objects as `dict`, sets as `RegoSet`, numbers as `int` or `float`) and the decision's
context, and raises `BuiltinError` where opa has a builtin error: the expression is then undefined.
"""

from __future__ import annotations

from apx.policy.builtins.base import BuiltinContext, BuiltinError, Host
from apx.policy.builtins.texts import TEXTS
from apx.policy.builtins.times import TIMES

HOST: dict[str, Host] = {**TEXTS, **TIMES}

__all__ = ["HOST", "BuiltinContext", "BuiltinError", "Host"]
