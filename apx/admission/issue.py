"""Give an org a key, or another in place of the one it has, and change its limits: each key is shown once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import msgspec

from apx.admission.keys import ENVIRONMENT, KeyRecord, KeyStore, mint, sha256_of, shown_key
from apx.admission.terms import NONE, Terms, checked_limits
from apx.catalog.model import Catalog, Per, Rate
from apx.clock import Clock
from apx.errors import Conflict, NotFound, Unsupported

GRACE_S, MOST_GRACE_S = 24 * 3600, 90 * 24 * 3600
"""How long a key works beside the one that replaces it: by default, and at most."""
_SOMEWHERE = "local"
"""The environment of a key whose record does not tell."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a key is, and for what."""

    org: str
    region: str
    plans: Mapping[str, str]
    """Product → plan."""


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """A key and the one that it replaces."""

    key: str
    """Shown this once."""
    new: KeyRecord
    old: KeyRecord
    """As it is now, with its end."""

    def shown(self) -> dict[str, object]:
        """Show it to whoever asked for it, this once."""
        return {"key": self.key, **shown_key(self.new), "replaces": self.old.id, "old_expires_ms": self.old.expires_ms}


def holder_of(catalog: Catalog, org: str) -> Holder:
    """Return an org with its entitlements. Raises `NotFound`."""
    entry = catalog.orgs.get(org)
    if entry is None:
        raise NotFound(f"no org {org!r} in {catalog.root}/orgs; there are: {', '.join(sorted(catalog.orgs))}")
    return Holder(org=org, region=entry.spec.region, plans=entry.spec.entitlements)


async def issue_key(
    store: KeyStore, catalog: Catalog, org: str, *, environment: str, note: str, clock: Clock, terms: Terms = NONE
) -> tuple[str, KeyRecord]:
    """Make a key with the org's entitlements; return it with its record.

    Raises `NotFound` for an unknown org, `Unsupported` for an environment that no key can name or terms that none can
    have, `Unavailable`.
    """
    terms = msgspec.structs.replace(terms, note=note)
    return await give_key(store, holder_of(catalog, org), environment=environment, terms=terms, clock=clock)


async def give_key(
    store: KeyStore, holder: Holder, *, environment: str, terms: Terms, clock: Clock
) -> tuple[str, KeyRecord]:
    """Make a key for a holder; return it with its record. Raises as `issue_key`."""
    now_ms = int(clock.time() * 1000)
    key, record = _new(holder, environment, terms.checked(holder.plans, now_ms), now_ms)
    await store.put(record)
    return key, record


async def rotate_key(
    store: KeyStore, key_id: str, *, clock: Clock, grace_s: float = GRACE_S, environment: str = ""
) -> Rotated:
    """Make a key on the terms of another, which ends after a grace period; one that was to end lives as long again.

    Raises `NotFound`, `Unsupported` for a grace that is too long, `Unavailable`, and `Conflict` for a key that was
    rotated or has ended.
    """
    if not 0 <= grace_s <= MOST_GRACE_S:
        raise Unsupported(f"grace: {grace_s:g} s are not between 0 and {MOST_GRACE_S} ({MOST_GRACE_S // 86_400} days)")
    old, now_ms = await store.named(key_id), int(clock.time() * 1000)
    if old is None:
        raise NotFound(f"no key {key_id!r}; `apx key list` shows them")
    if old.replaced_by:
        raise Conflict(f"{key_id} was replaced by {old.replaced_by}: rotate that one")
    if old.expires_ms is not None and old.expires_ms <= now_ms:
        raise Conflict(f"{key_id} has expired: create a new one")
    lives_ms = None if old.expires_ms is None else now_ms + old.expires_ms - old.created_ms
    terms = Terms(
        scopes=old.scopes,
        allowlist=old.allowlist,
        metadata=old.metadata,
        note=old.note,
        expires_ms=lives_ms,
        rate=old.rate,
        quotas=old.quotas,
    )
    holder = Holder(org=old.org, region=old.region, plans=old.plans)
    key, new = _new(holder, environment or old.environment or _SOMEWHERE, terms, now_ms, family=old.counted_as)
    ends_ms = min(now_ms + int(grace_s * 1000), old.expires_ms or 2**63)
    ended = msgspec.structs.replace(old, replaced_by=new.id, expires_ms=ends_ms)
    if not await store.replace(old, ended, new):
        raise Conflict(f"{key_id} was changed by somebody else first; look again")
    return Rotated(key=key, new=new, old=ended)


async def limit_key(store: KeyStore, key_id: str, rate: Rate | None, quotas: Mapping[Per, int]) -> KeyRecord:
    """Give a key these limits of its own in place of those that it has; what it used stays used.

    Raises `NotFound`, `Unsupported`, `Unavailable`, and `Conflict` for a key that was rotated.
    """
    checked, old = checked_limits(rate, quotas), await store.named(key_id)
    if old is None:
        raise NotFound(f"no key {key_id!r}; `apx key list` shows them")
    if old.replaced_by:
        raise Conflict(f"{key_id} was replaced by {old.replaced_by}: limit that one")
    new = msgspec.structs.replace(old, rate=rate, quotas=checked)
    if new != old and not await store.replace(old, new):
        raise Conflict(f"{key_id} was changed by somebody else first; look again")
    return new


def _new(holder: Holder, environment: str, terms: Terms, now_ms: int, family: str = "") -> tuple[str, KeyRecord]:
    if ENVIRONMENT.fullmatch(environment) is None:
        raise Unsupported(f"environment {environment!r}: a key names one of 1 to 16 lower-case letters and digits")
    key = mint(environment, secrets.token_bytes)
    record = KeyRecord(
        id=f"key_{secrets.token_hex(8)}",
        sha256=sha256_of(key),
        org=holder.org,
        region=holder.region,
        plans=dict(holder.plans),
        created_ms=now_ms,
        note=terms.note,
        expires_ms=terms.expires_ms,
        scopes=terms.scopes,
        allowlist=terms.allowlist,
        metadata=terms.metadata,
        environment=environment,
        rate=terms.rate,
        quotas=terms.quotas,
        family=family,
    )
    return key, record
