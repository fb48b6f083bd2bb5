"""Make releases live: checked first, then one compare-and-swap for each product that changes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from apx.clock import Clock
from apx.errors import Conflict
from apx.release.load import Loader
from apx.rollout.active import Active, AuditEntry, RolloutStore


class Activated(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one wish."""

    product: str
    digest: str
    changed: bool
    """False when that release was live already."""


async def activate(
    store: RolloutStore,
    loader: Loader,
    digests: Sequence[str],
    *,
    actor: str,
    why: str,
    clock: Clock,
    action: str = "activate",
    source: str = "",
) -> list[Activated]:
    """Serve these releases from now on, at most one of each product.

    Every release that is not live yet is loaded and verified whole before anything changes.
    Raises `ReleaseRejected`, `NotFound` or `Unavailable`, and then nothing has changed; `Conflict` when a product has a
    rollout under way (nothing has changed), or when somebody else changed it meanwhile, and then those before it in the
    list have changed.
    """
    now = (await store.read()).products
    live = {active.stable: product for product, active in now.items()}
    products = {digest: live.get(digest) or (await loader.load(digest)).manifest.product for digest in digests}
    _check_at_rest([now[product] for digest, product in products.items() if digest not in live and product in now])
    for digest, product in products.items():
        if digest not in live:
            before = now.get(product)
            audit = AuditEntry(
                at_ms=int(clock.time() * 1000),
                actor=actor,
                action=action,
                product=product,
                before=before.stable if before else None,
                after=digest,
                why=why,
                source=source,
            )
            await store.change(_successor(product, digest, before), audit)
    return [Activated(product=products[d], digest=d, changed=d not in live) for d in products]


def _check_at_rest(products: Sequence[Active]) -> None:
    for one in products:
        if one.candidate is not None or one.waiting is not None:
            raise Conflict(
                f"{one.product} has a rollout under way: `apx rollout abort {one.product}` or "
                f"`apx rollout promote {one.product}` first"
            )


def _successor(product: str, digest: str, before: Active | None) -> Active:
    if before is None:
        return Active(product=product, stable=digest)
    return msgspec.structs.replace(before, stable=digest, previous=before.stable)
