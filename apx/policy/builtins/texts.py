"""Strings that opa leaves to the host."""

from __future__ import annotations

from typing import Any

from apx.policy.builtins.base import ANY, INTEGER, TEXT, BuiltinError, Host, RegoSet, host
from apx.policy.builtins.formatting import sprintf


@host(TEXT, TEXT)
def count(text: str, part: str) -> int:
    """Count occurrences that do not overlap."""
    return text.count(part)


@host(TEXT, TEXT)
def indexof_n(text: str, part: str) -> list[int]:
    """Find every place where `part` begins, overlapping ones too."""
    if not part:
        raise BuiltinError
    found = []
    at = text.find(part)
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1)
    return found


@host(ANY, ANY)
def any_prefix_match(search: Any, base: Any) -> bool:
    """Say whether any string begins with any of the bases."""
    bases = tuple(_texts(base))
    return any(text.startswith(bases) for text in _texts(search))


@host(ANY, ANY)
def any_suffix_match(search: Any, base: Any) -> bool:
    """Say whether any string ends with any of the bases."""
    bases = tuple(_texts(base))
    return any(text.endswith(bases) for text in _texts(search))


@host(TEXT, TEXT, INTEGER)
def split_n(text: str, separator: str, most: int) -> list[str]:
    """Split and keep the first `most` parts, or the last ones when negative."""
    parts = text.split(separator) if separator else list(text)
    return parts[:most] if most >= 0 else parts[most:]


@host(TEXT)
def quote_meta(pattern: str) -> str:
    """Escape what a glob would take for a pattern."""
    return "".join(f"\\{char}" if char in "*?\\[]{}" else char for char in pattern)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, (list, RegoSet)):
        return [TEXT(item) for item in value]
    raise BuiltinError


TEXTS: dict[str, Host] = {
    "glob.quote_meta": quote_meta,
    "indexof_n": indexof_n,
    "sprintf": sprintf,
    "strings.any_prefix_match": any_prefix_match,
    "strings.any_suffix_match": any_suffix_match,
    "strings.count": count,
    "strings.split_n": split_n,
}
