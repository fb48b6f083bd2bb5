"""Make releases live: checked first, then one compare-and-swap for each product."""

from __future__ import annotations

from apx.clock import Clock
from apx.release.load import Loader
from apx.rollout.active import Active, AuditEntry, RolloutStore


async def activate(
    store: RolloutStore, loader: Loader, digest: str, *, actor: str, why: str, clock: Clock, action: str = "activate"
) -> Active | None:
    """Serve the release `digest` from now on; return the new state, or None when it is live already.

    The whole release is loaded and verified before anything changes.
    Raises `ReleaseRejected`, `NotFound`, `Conflict` or `Unavailable`; then nothing has changed.
    """
    product = (await loader.load(digest)).manifest.product
    now = (await store.read()).products.get(product)
    if now is not None and now.stable == digest:
        return None
    audit = AuditEntry(
        at_ms=int(clock.time() * 1000),
        actor=actor,
        action=action,
        product=product,
        before=now.stable if now else None,
        after=digest,
        why=why,
    )
    new = Active(
        product=product,
        stable=digest,
        previous=now.stable if now else None,
        revision=now.revision if now else 0,
    )
    return await store.change(new, audit)
