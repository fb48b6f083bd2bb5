"""Keys over the control API: look, give, rotate, take back. A key itself is in one answer, once.

What an org's admin gives it is held to its entitlements.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from apx.admission.issue import GRACE_S, MOST_GRACE_S, Holder, give_key, limit_key, rotate_key
from apx.admission.keys import ENVIRONMENT, shown_key
from apx.admission.operators import Operator
from apx.admission.orgs import NO_TERMS
from apx.admission.terms import Terms
from apx.audit.record import By
from apx.bootstrap import Backends
from apx.catalog.model import MOST_BURST, MOST_PER_SECOND, MOST_REQUESTS, Per, Rate
from apx.clock import Clock
from apx.errors import NotFound, Unsupported
from apx.release.load import Loader
from services.control.access import Access, OrgOf

Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=63)]
Environment = Annotated[str, Field(pattern=f"^{ENVIRONMENT.pattern}$")]
KeyId = Annotated[str, Field(max_length=80)]


class RateWish(BaseModel, extra="forbid"):
    """A token bucket."""

    per_second: float = Field(gt=0, le=MOST_PER_SECOND, description="Requests a second that go on for ever.")
    burst: int = Field(ge=1, le=MOST_BURST, description="Requests at once after a pause.")


class Limits(BaseModel, extra="forbid"):
    """A key's own limits, over all its products together."""

    rate: RateWish | None = None
    quotas: dict[Per, Annotated[int, Field(ge=1, le=MOST_REQUESTS)]] = Field(
        default={}, description="Requests in each hour, day or month."
    )

    def own_rate(self) -> Rate | None:
        """Return the rate as keys have it."""
        return None if self.rate is None else Rate(per_second=self.rate.per_second, burst=self.rate.burst)


class Wish(Limits, extra="forbid"):
    """A key: whose, for what, and on which terms."""

    org: Name
    region: Literal["us", "eu"] = Field(description="Where the org's requests and results are kept.")
    plans: dict[Name, Name] = Field(min_length=1, max_length=1000, description="Live product → one of its plans.")
    environment: Environment = "local"
    note: str = ""
    scopes: dict[Name, list[str]] = Field(default={}, description="Product → methods; none: all of them.")
    allowlist: list[str] = Field(default=[], description="Networks (CIDR) that it may be used from.")
    metadata: dict[str, str] = {}
    expires_ms: int | None = None


class Rotation(BaseModel, extra="forbid"):
    """How long the old key still works."""

    grace_s: float = Field(default=GRACE_S, ge=0, le=MOST_GRACE_S)


_NO_STORE = {"cache-control": "no-store"}


def keys(backends: Backends, loader: Loader, access: Access, clock: Clock) -> APIRouter:
    """Return the endpoints."""
    router = APIRouter(tags=["keys"])
    looking, calling, of_key = access.looks(), Depends(access.caller), _org_of(backends)
    viewer, admin = Depends(access.needs("viewer", of_key)), Depends(access.who("admin", of_key))
    giver = Depends(access.who("admin", _of_wish))

    @router.get("/keys")
    async def every(org: str | None = None, caller: Operator = looking) -> list[dict[str, Any]]:
        """List keys; the keys themselves are stored nowhere."""
        return [shown_key(record) for one in caller.asks(org) for record in await backends.keys.list_keys(one)]

    @router.post("/keys", status_code=201)
    async def create(wish: Wish, response: Response, by: By = giver, caller: Operator = calling) -> dict[str, Any]:
        """Make a key; this answer alone shows it."""
        if not caller.may("admin"):
            await _check_entitled(backends, wish)
        await _check_plans(backends, loader, wish.plans)
        holder = Holder(org=wish.org, region=wish.region, plans=wish.plans)
        key, record = await give_key(
            backends.by(by).keys, holder, environment=wish.environment, terms=_terms(wish), clock=clock
        )
        response.headers.update({**_NO_STORE, "location": f"/api/v1/keys/{record.id}"})
        return {"key": key, **shown_key(record)}

    @router.get("/keys/{key_id}", dependencies=[viewer])
    async def one(key_id: KeyId) -> dict[str, Any]:
        """Show what is known of a key."""
        record = await backends.keys.named(key_id)
        if record is None:
            raise NotFound(f"no key {key_id!r}")
        return shown_key(record)

    @router.post("/keys/{key_id}/rotate", status_code=201)
    async def rotate(key_id: KeyId, rotation: Rotation, response: Response, by: By = admin) -> dict[str, Any]:
        """Make another key on the same terms; the old one works until `old_expires_ms`."""
        rotated = await rotate_key(backends.by(by).keys, key_id, clock=clock, grace_s=rotation.grace_s)
        response.headers.update({**_NO_STORE, "location": f"/api/v1/keys/{rotated.new.id}"})
        return rotated.shown()

    @router.put("/keys/{key_id}/limits")
    async def limit(key_id: KeyId, limits: Limits, by: By = admin) -> dict[str, Any]:
        """Give a key these limits of its own in place of those it has; every router has them within a second."""
        return shown_key(await limit_key(backends.by(by).keys, key_id, limits.own_rate(), limits.quotas))

    @router.delete("/keys/{key_id}", status_code=204)
    async def revoke(key_id: KeyId, by: By = admin) -> Response:
        """Revoke a key; every router refuses it within a second, and ends what it has open."""
        if await backends.by(by).keys.revoke(key_id) is None:
            raise NotFound(f"no key {key_id!r}")
        return Response(status_code=204)

    return router


def _org_of(backends: Backends) -> OrgOf:
    async def of_key(key_id: KeyId) -> str | None:
        record = await backends.keys.named(key_id)
        return None if record is None else record.org

    return of_key


async def _of_wish(wish: Wish) -> str:
    return wish.org


def _terms(wish: Wish) -> Terms:
    return Terms(
        scopes={product: tuple(methods) for product, methods in wish.scopes.items()},
        allowlist=tuple(wish.allowlist),
        metadata=wish.metadata,
        expires_ms=wish.expires_ms,
        note=wish.note,
        rate=wish.own_rate(),
        quotas=wish.quotas,
    )


async def _check_entitled(backends: Backends, wish: Wish) -> None:
    """Hold a key that an org gives itself against what its file says, as far as that was given to the store."""
    state = await backends.orgs.find(wish.org)
    terms = (state.terms if state is not None else None) or NO_TERMS
    for product, plan in wish.plans.items():
        if terms.entitlements.get(product) != plan:
            entitled = ", ".join(f"{one} under {its}" for one, its in sorted(terms.entitlements.items()))
            raise Unsupported(
                f"plans: {wish.org} is entitled to {entitled or 'nothing'}, not to {product} under {plan}"
            )
    if wish.region != terms.region:
        raise Unsupported(f"region: what {wish.org} asks for is kept in {terms.region or 'no region'}")


async def _check_plans(backends: Backends, loader: Loader, plans: dict[str, str]) -> None:
    """Hold a key's plans against what is live: this process has no tree to read entitlements from."""
    live = (await backends.rollouts.read()).products
    for product, plan in plans.items():
        active = live.get(product)
        if active is None:
            raise Unsupported(f"plans: there is no live product {product!r}")
        offered = (await loader.manifest(active.stable, product)).plans
        if plan not in offered:
            raise Unsupported(f"plans: {product} is offered under {', '.join(sorted(offered))}, not {plan!r}")
