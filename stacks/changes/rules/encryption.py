"""Keys that are dropped or changed, and transport that is not encrypted any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stacks.changes.model import Danger, Delta, Difference
from stacks.changes.rules.saying import high, medium

KEYS = frozenset(
    {
        *("kms_key", "kms_key_name", "default_kms_key_name", "boot_disk_kms_key", "gcp_kms_encryption_key"),
        *("disk_encryption_key", "key_name"),
    }
)
_TLS = ("TLS_1_0", "TLS_1_1", "TLS_1_2", "TLS_1_3")
_PROFILES = ("COMPATIBLE", "MODERN", "RESTRICTED")


def keys(delta: Delta) -> Iterator[Danger]:
    """Find a key of one's own that is taken away, or exchanged for another."""
    if delta.before is None or delta.after is None:
        return
    for one in delta.differences:
        before, after = _key(one.before, one), _key(one.after, one)
        if before and not after:
            yield high("encryption-dropped", f"{one.dotted}: it is no longer encrypted under a key of APX.")
        elif before and after and not one.because and before != after:
            yield medium("encryption-changed", f"{one.dotted}: it is encrypted under another key.")


def _key(value: Any, one: Difference) -> str | None:
    """Return the key that a value is, or that is somewhere in the block that it is."""
    if isinstance(value, Mapping):
        found = [_key(part, Difference((*one.path, name), None, None)) for name, part in value.items()]
        return next((key for key in found if key), None)
    return value if one.path[-1] in KEYS and isinstance(value, str) and value else None


def transport(delta: Delta) -> Iterator[Danger]:
    """Find connections that are less protected than before."""
    if delta.before is None or delta.after is None:
        return
    before, after = delta.both("transit_encryption_mode")
    if before == "SERVER_AUTHENTICATION" and after != before:
        yield high("encryption-dropped", "Connections are no longer encrypted.")
    before, after = delta.both("database_encryption", "state")
    if before == "ENCRYPTED" and after != before:
        yield high("encryption-dropped", "Secrets in the cluster's store are no longer encrypted.")
    if delta.type == "google_compute_ssl_policy":
        for attribute, order in (("min_tls_version", _TLS), ("profile", _PROFILES)):
            before, after = delta.both(attribute)
            if _rank(order, after) < _rank(order, before):
                yield high("encryption-dropped", f"{attribute} is lowered: {before} → {after}.")


def _rank(order: tuple[str, ...], value: Any) -> int:
    return order.index(value) if value in order else 0
