"""From what happened to deliveries in their lanes: what ended is read from the log of usage, and forgotten after.

Whoever reads may be killed at any moment and be followed by another, or run beside one: an event is queued under an id
and an idempotency record of its own for each webhook, and so once.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable

from apx.clock import Clock
from apx.errors import Conflict
from apx.requests.model import Envelope
from apx.requests.ports import Bus, Published
from apx.telemetry import metrics
from apx.telemetry.repeated import again_and_again
from apx.usage.events import UsageLog
from apx.webhooks.events import Event, finished
from apx.webhooks.model import MOST_WAITING, PRODUCT, Webhook
from apx.webhooks.store import WebhookStore

EVERY_S = 1.0
PAGE = 1000
KNOWN_S = 2.0
"""How old what is known of an org's webhooks may be: a new one hears of what ends from then on."""
MOST_KNOWN = 10_000
AT_ONCE = 256
"""Calls of stores under way: a page may have many orgs, and each of those many webhooks."""
DEADLINE_S = 3 * 86_400.0
QUEUED_ONCE_S = 86_400
"""For how long an event that comes again is known to be queued."""
OVERFLOW = f"over {MOST_WAITING} events wait for it"
Disable = Callable[[Webhook, str], Awaitable[object]]


def delivery(event: Event, webhook: Webhook) -> Envelope:
    """Return the delivery of an event to a webhook: a request of an internal product, the same each time."""
    message_id = event.message_id(webhook.id)
    return Envelope(
        id=message_id,
        org=webhook.id,
        key_id="",
        product=PRODUCT,
        release="",
        lane="" if webhook.ordered else message_id,
        method="POST",
        path="",
        query="",
        headers=(("content-type", "application/json"), ("webhook-id", message_id)),
        body=event.body(),
        accepted_ms=event.at_ms,
        deadline_ms=event.at_ms + int(DEADLINE_S * 1000),
        timeout_s=0.0,
        fingerprint=message_id,
        idempotency=message_id,
        idempotency_ttl_s=QUEUED_ONCE_S,
        backlog=MOST_WAITING,
    )


class Dispatcher:
    """Queues what an org's webhooks are told."""

    def __init__(self, store: WebhookStore, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, list[Webhook]]] = OrderedDict()
        self._room = asyncio.Semaphore(AT_ONCE)
        self.on_overflow: Disable = _nothing

    async def tell(self, events: Iterable[Event], *, but: str = "") -> int:
        """Queue deliveries of events to the webhooks that ask for them; return how many. Raises `Unavailable`.

        Safe to repeat. Those of an ordered webhook are queued in the order given. `but`: a webhook that is not told, as
        the events are about its being disabled; for want of them no other is.
        """
        told = list(events)
        orgs = list(dict.fromkeys(event.org for event in told))
        known = dict(zip(orgs, await asyncio.gather(*map(self._of_org, orgs)), strict=True))
        by_webhook: dict[str, tuple[Webhook, list[Event]]] = {}
        for event in told:
            for webhook in known[event.org]:
                if webhook.enabled and webhook.id != but and webhook.wants(event.type, event.product):
                    by_webhook.setdefault(webhook.id, (webhook, []))[1].append(event)
        # Two that overflow would tell each other so, and that it could not be told, for ever.
        on_overflow = _nothing if but else self.on_overflow
        return sum(await asyncio.gather(*(self._queue(*one, on_overflow) for one in by_webhook.values())))

    async def send(self, event: Event, webhook: Webhook) -> str:
        """Queue one delivery, whatever the webhook asks for; return its `webhook-id`.

        Raises `Conflict` when too many wait for it, `Unavailable`.
        """
        published = await self._bus.publish(delivery(event, webhook))
        if published.outcome == "backlog":
            raise Conflict(f"{webhook.id}: {OVERFLOW}")
        return event.message_id(webhook.id)

    async def _queue(self, webhook: Webhook, events: list[Event], on_overflow: Disable) -> int:
        deliveries = [delivery(event, webhook) for event in events]
        if webhook.ordered:
            published = [await self._publish(one) for one in deliveries]
        else:
            published = await asyncio.gather(*map(self._publish, deliveries))
        outcomes = Counter(one.outcome for one in published)
        if dropped := outcomes["backlog"]:
            metrics.WEBHOOK_DROPPED.add(dropped)
            self._known.pop(webhook.org, None)
            await on_overflow(webhook, OVERFLOW)
        return outcomes["accepted"]

    async def _publish(self, envelope: Envelope) -> Published:
        async with self._room:
            return await self._bus.publish(envelope)

    async def _of_org(self, org: str) -> list[Webhook]:
        now_s = self._clock.monotonic()
        known = self._known.get(org)
        if known is None or now_s - known[0] >= KNOWN_S:
            async with self._room:
                known = self._known[org] = (now_s, await self._store.of_org(org))
            self._known.move_to_end(org)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return known[1]


class Forwarder:
    """Reads what ended, and has webhooks told of it."""

    def __init__(self, log: UsageLog, dispatcher: Dispatcher) -> None:
        self._log = log
        self._dispatcher = dispatcher

    async def forward(self) -> int:
        """Deal with what waits; return how many deliveries were queued. Raises `Unavailable`."""
        queued = 0
        while (page := await self._log.waiting(PAGE)) is not None:
            # A client that waits for its answer need not be told of it.
            queued += await self._dispatcher.tell(finished(one) for one in page.events if one.mode == "async")
            await self._log.forget(page)
        metrics.WEBHOOK_QUEUED.add(queued)
        return queued

    async def run(self, every_s: float = EVERY_S) -> None:
        """Deal with what waits again and again, until cancelled; while a store is away, events wait."""
        await again_and_again(
            self.forward, every_s=every_s, failed="webhooks.not-forwarded", failures=metrics.WEBHOOK_FAILURES
        )


async def _nothing(_: Webhook, __: str) -> None:
    """Leave an overflow to its metric."""
