"""What operators do with webhooks: over the control API and at the command line alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from apx.admission.keys import KeyStore
from apx.admission.orgs import OrgStore, known_org
from apx.clock import Clock
from apx.errors import Conflict, NotFound, Unsupported
from apx.requests.ports import Bus
from apx.webhooks.events import Event
from apx.webhooks.forward import Dispatcher
from apx.webhooks.model import EVENT_TYPES, MOST_PER_ORG, PING, Webhook, shown_webhook
from apx.webhooks.replay import forget_deliveries, replay_deliveries
from apx.webhooks.signing import Vault, new_secret
from apx.webhooks.store import WebhookStore
from apx.webhooks.urls import judge_url

GRACE_S = 86_400.0
MOST_GRACE_S = 30 * 86_400.0
MOST_PRODUCTS = 100
_NAME = re.compile("[a-z]([a-z0-9-]*[a-z0-9])?")
_ID_BYTES = 8


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook to be."""

    org: str
    url: str
    events: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    ordered: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes another of a webhook; None: it stays."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    products: tuple[str, ...] | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook and the secret that was made for it."""

    secret: str
    webhook: Webhook

    def shown(self) -> dict[str, object]:
        """Show it to whoever asked for it, this once."""
        return {"secret": self.secret, **shown_webhook(self.webhook)}


class Webhooks:
    """Makes, shows and changes webhooks."""

    def __init__(
        self,
        store: WebhookStore,
        vault: Vault,
        bus: Bus,
        clock: Clock,
        random: Callable[[int], bytes],
        *,
        loopback: bool = False,
    ) -> None:
        """`loopback`: take addresses of this machine itself too."""
        self._store = store
        self._vault = vault
        self._bus = bus
        self._clock = clock
        self._random = random
        self._loopback = loopback

    async def create(self, wish: Wish, orgs: OrgStore, keys: KeyStore) -> Made:
        """Make a webhook. Two that are made at the same moment may be one more than `MOST_PER_ORG`.

        Raises `NotFound` for an org that has nothing here, `Unsupported` for what no webhook may be, `Conflict` where
        the org has enough of them, `Unavailable`.
        """
        self._check(wish.url, wish.events, wish.products)
        await known_org(orgs, keys, wish.org)
        if len(await self._store.of_org(wish.org)) >= MOST_PER_ORG:
            raise Conflict(f"{wish.org} has {MOST_PER_ORG} webhooks, which is the most: delete one")
        webhook_id, secret, now_ms = f"wh_{self._random(_ID_BYTES).hex()}", new_secret(self._random), self._now_ms()
        webhook = Webhook(
            id=webhook_id,
            org=wish.org,
            url=wish.url,
            events=_distinct(wish.events),
            products=_distinct(wish.products),
            ordered=wish.ordered,
            secret=self._vault.seal(webhook_id, secret),
            created_ms=now_ms,
            state_ms=now_ms,
        )
        await self._store.add(webhook)
        return Made(secret=secret, webhook=webhook)

    async def listed(self, org: str | None = None) -> list[Webhook]:
        """Return all webhooks, or an org's."""
        return await (self._store.list_webhooks() if org is None else self._store.of_org(org))

    async def one(self, webhook_id: str) -> Webhook:
        """Return a webhook. Raises `NotFound`, `Unavailable`."""
        found = await self._store.find(webhook_id)
        if found is None:
            raise NotFound(f"no webhook {webhook_id[:80]!r}; `apx webhook list` shows them")
        return found

    async def change(self, webhook_id: str, change: Change) -> Webhook:
        """Change what it is told of, and where: what waits for it goes to the new address too.

        Raises `Unsupported` for what no webhook may be, and for no change at all; else as `rotate`.
        """
        before = await self.one(webhook_id)
        asked = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
        if not asked:
            raise Unsupported("nothing to change: name a url, events or products")
        after = msgspec.structs.replace(before, **asked)
        self._check(after.url, after.events, after.products)
        return await self._changed(
            before,
            url=after.url,
            events=_distinct(after.events),
            products=_distinct(after.products),
            state_ms=before.state_ms if after.url == before.url else self._now_ms(),
        )

    async def rotate(self, webhook_id: str, *, grace_s: float = GRACE_S) -> Made:
        """Make another secret; the one before signs too until the grace is over. Raises as `one`, and `Conflict`."""
        if not 0 <= grace_s <= MOST_GRACE_S:
            raise Unsupported(f"grace: {grace_s:g} s are not between 0 and {MOST_GRACE_S:g}")
        before, secret = await self.one(webhook_id), new_secret(self._random)
        after = await self._changed(
            before,
            secret=self._vault.seal(webhook_id, secret),
            previous=before.secret if grace_s else b"",
            previous_until_ms=self._now_ms() + int(grace_s * 1000) if grace_s else 0,
        )
        return Made(secret=secret, webhook=after)

    async def enable(self, webhook_id: str) -> Webhook:
        """Tell it again what happens from now on. Raises as `rotate`."""
        before = await self.one(webhook_id)
        if before.enabled:
            raise Conflict(f"{webhook_id} is enabled already")
        return await self._changed(before, state="enabled", reason="", state_ms=self._now_ms())

    async def disable(self, webhook_id: str, why: str) -> Webhook:
        """Tell it nothing; what waits for it is put with the dead letters. Raises as `rotate`."""
        before = await self.one(webhook_id)
        if not before.enabled:
            raise Conflict(f"{webhook_id} is disabled already: {before.reason}")
        return await self._changed(before, state="disabled", reason=why, state_ms=self._now_ms())

    async def delete(self, webhook_id: str) -> Webhook:
        """Forget it, what waits for it and what was given up. Raises as `one`; may be repeated."""
        standing = await self.one(webhook_id)
        await forget_deliveries(self._bus, webhook_id)  # first, for of one that is gone nobody could ask for it again
        removed = await self._store.remove(webhook_id)
        await forget_deliveries(self._bus, webhook_id)  # what was given up meanwhile
        return removed or standing

    async def ping(self, webhook_id: str) -> str:
        """Queue a `webhook.ping`; return its `webhook-id`. Raises as `one`, and `Conflict` where it is disabled."""
        webhook = await self.one(webhook_id)
        if not webhook.enabled:
            raise Conflict(f"{webhook_id} is disabled ({webhook.reason}): `apx webhook enable {webhook_id}`")
        at_ms = self._now_ms()
        event = Event(
            id=f"ping\n{self._random(_ID_BYTES).hex()}",
            type=PING,
            org=webhook.org,
            at_ms=at_ms,
            data={"webhook": webhook_id, "org": webhook.org},
        )
        return await Dispatcher(self._store, self._bus, self._clock).send(event, webhook)

    async def replay(self, webhook_id: str, *, since_ms: int = 0) -> int:
        """Enable it if it is disabled, and send again what was given up; return how many deliveries.

        Raises as `rotate`; may be repeated.
        """
        webhook = await self.one(webhook_id)
        if not webhook.enabled:
            webhook = await self.enable(webhook_id)
        return await replay_deliveries(self._bus, webhook, self._clock, since_ms=since_ms)

    def _check(self, url: str, events: Sequence[str], products: Sequence[str]) -> None:
        judge_url(url, loopback=self._loopback)
        _check_events(events)
        _check_products(products)

    async def _changed(self, before: Webhook, **changes: object) -> Webhook:
        after = msgspec.structs.replace(before, **changes)
        if after != before and not await self._store.replace(before, after):
            raise Conflict(f"{before.id} was changed by somebody else first; look again")
        return after

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _check_events(events: Sequence[str]) -> None:
    for event in events:
        if event not in EVENT_TYPES:
            raise Unsupported(f"events: {event[:60]!r} is none of {', '.join(EVENT_TYPES)}")


def _check_products(products: Sequence[str]) -> None:
    if len(products) > MOST_PRODUCTS:
        raise Unsupported(f"products: {len(products)} are over {MOST_PRODUCTS}")
    for product in products:
        if not _NAME.fullmatch(product):
            raise Unsupported(f"products: {product[:60]!r} is no name of a product")
