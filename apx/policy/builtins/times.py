"""The family `time`."""

from __future__ import annotations

from apx.policy.builtins.base import BuiltinContext, Host


def now_ns(context: BuiltinContext) -> int:
    """Return the decision's time."""
    return context.now_ns


TIMES: dict[str, Host] = {"time.now_ns": now_ns}
