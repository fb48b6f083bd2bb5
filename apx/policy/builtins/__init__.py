"""Builtins that opa leaves to the host, with opa's semantics.

Each is called with the decision's context and its operands (objects as `dict`, sets as `RegoSet`, numbers as `int` or
`Decimal`), and raises `BuiltinError` where opa has a builtin error: the expression is then undefined. Where the host
could not give opa's own answer it raises `Unanswerable`, which denies.
"""

from __future__ import annotations

from apx.policy.builtins.base import BuiltinContext, BuiltinError, Host
from apx.policy.builtins.documents import DOCUMENTS
from apx.policy.builtins.encodings import ENCODINGS
from apx.policy.builtins.networks import NETWORKS
from apx.policy.builtins.notations import NOTATIONS
from apx.policy.builtins.patterns import PATTERNS
from apx.policy.builtins.texts import TEXTS
from apx.policy.builtins.times import TIMES
from apx.policy.builtins.tokens import TOKENS

HOST: dict[str, Host] = {
    **DOCUMENTS,
    **ENCODINGS,
    **NETWORKS,
    **NOTATIONS,
    **PATTERNS,
    **TEXTS,
    **TIMES,
    **TOKENS,
}

__all__ = ["HOST", "BuiltinContext", "BuiltinError", "Host"]
