"""Strings."""

from __future__ import annotations

from apx.policy.builtins.base import BuiltinContext, Host


def strings_count(_: BuiltinContext, text: str, part: str) -> int:
    """Count non-overlapping occurrences."""
    return text.count(part)


TEXTS: dict[str, Host] = {"strings.count": strings_count}
