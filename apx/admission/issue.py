"""Give an org a key: the key is shown once, its record is stored."""

from __future__ import annotations

import secrets

from apx.admission.keys import ENVIRONMENT, KeyRecord, KeyStore, mint, sha256_of
from apx.catalog.model import Catalog
from apx.clock import Clock
from apx.errors import NotFound, Unsupported


async def issue_key(
    store: KeyStore, catalog: Catalog, org: str, *, environment: str, note: str, clock: Clock
) -> tuple[str, KeyRecord]:
    """Make a key with the org's entitlements; return it with its record.

    Raises `NotFound` for an unknown org, `Unsupported` for an environment that no key can name, `Unavailable`.
    """
    if ENVIRONMENT.fullmatch(environment) is None:
        raise Unsupported(f"environment {environment!r}: a key names one of 1 to 16 lower-case letters and digits")
    entry = catalog.orgs.get(org)
    if entry is None:
        raise NotFound(f"no org {org!r} in {catalog.root}/orgs; there are: {', '.join(sorted(catalog.orgs))}")
    key = mint(environment, secrets.token_bytes)
    record = KeyRecord(
        id=f"key_{secrets.token_hex(8)}",
        sha256=sha256_of(key),
        org=org,
        region=entry.spec.region,
        plans=dict(entry.spec.entitlements),
        created_ms=int(clock.time() * 1000),
        note=note,
    )
    await store.put(record)
    return key, record
