"""Receivers that are dead: their webhooks are disabled, with a notice to the org's others.

A receiver is dead when a delivery was given up after its last try, and none to it succeeded since that one's event; it
is gone when it says so. Looked for in the dead letters, the newest ones: what a look misses in a crowd of others', the
next delivery that is given up brings up again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import structlog

from apx.clock import Clock
from apx.requests.model import DeadLetter
from apx.requests.ports import Bus
from apx.telemetry import metrics
from apx.telemetry.repeated import again_and_again
from apx.webhooks.events import Event
from apx.webhooks.forward import Dispatcher
from apx.webhooks.model import PRODUCT, Webhook
from apx.webhooks.store import WebhookStore
from apx.webhooks.terms import DISABLED, GONE, TIMEOUT_S

EVERY_S = 30.0
MOST_LOOKED_AT = 100
NOT_TRIED = frozenset({DISABLED.code, "deadline-exceeded", "quarantined"})
"""Reasons that say nothing of the receiver: its webhook was disabled, it was behind another, a worker died of it."""
IS_GONE = "the receiver answered 410"
IS_DEAD = "a delivery was given up after its last try, and none has succeeded since its event"
_log = structlog.get_logger(__name__)


class Health:
    """Looks after webhooks; any number of them may run beside one another, and each may be killed at any moment."""

    def __init__(self, store: WebhookStore, bus: Bus, dispatcher: Dispatcher, clock: Clock) -> None:
        """`store` is one that records what is changed."""
        self._store = store
        self._bus = bus
        self._dispatcher = dispatcher
        self._clock = clock
        self._newest = ""

    async def look(self) -> list[str]:
        """Disable what is dead or gone; return the ids of those webhooks. Raises `Unavailable`."""
        newest = next(iter(await self._bus.dead_letters(PRODUCT, 1)), None)
        if newest is None or newest.id == self._newest:
            return []  # one letter read, not a thousand, as long as nothing is given up
        by_webhook: dict[str, list[DeadLetter]] = {}
        for letter in await self._bus.dead_letters(PRODUCT, MOST_LOOKED_AT):
            by_webhook.setdefault(letter.envelope.org, []).append(letter)
        disabled = [one for one, letters in by_webhook.items() if await self._look_at(one, letters)]
        self._newest = newest.id
        return disabled

    async def disable(self, webhook: Webhook, reason: str) -> bool:
        """Disable a webhook and tell the org's others; False when somebody changed it first. Raises `Unavailable`.

        Told first: who dies in between tells it again, under the same id.
        """
        await self._dispatcher.tell([_disabled(webhook, reason, self._now_ms())], but=webhook.id)
        after = msgspec.structs.replace(webhook, state="disabled", reason=reason, state_ms=self._now_ms())
        if not await self._store.replace(webhook, after):
            return False
        metrics.WEBHOOK_DISABLED.inc()
        _log.warning("webhook.disabled", webhook=webhook.id, org=webhook.org, reason=reason)
        return True

    async def run(self, every_s: float = EVERY_S) -> None:
        """Look again and again, until cancelled."""
        await again_and_again(
            self.look, every_s=every_s, failed="webhooks.not-looked-after", failures=metrics.WEBHOOK_FAILURES
        )

    async def _look_at(self, webhook_id: str, letters: Sequence[DeadLetter]) -> bool:
        """Disable a webhook if its letters say that it is dead or gone; tell whether it was."""
        while (webhook := await self._store.find(webhook_id)) is not None and webhook.enabled:
            reason = await self._reason(webhook, letters)
            if not reason:
                return False
            if await self.disable(webhook, reason):
                return True
        return False

    async def _reason(self, webhook: Webhook, letters: Sequence[DeadLetter]) -> str:
        """Return why a webhook is to be disabled; empty: it is not."""
        given_up = [one for one in letters if one.reason not in NOT_TRIED and _is_of_now(one, webhook)]
        if any(one.reason == GONE.code for one in given_up):
            return IS_GONE
        since_ms = _newest_event_ms(given_up)
        if since_ms is None or await self._store.last_delivered_ms(webhook.id) >= since_ms:
            return ""
        return IS_DEAD

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _is_of_now(letter: DeadLetter, webhook: Webhook) -> bool:
    """Whether the last try was at the address of now: its event came since, or the try itself must have begun since."""
    last_began_ms = letter.at_ms - int(TIMEOUT_S * 1000)
    return max(letter.envelope.accepted_ms, last_began_ms) >= webhook.state_ms


def _newest_event_ms(letters: Iterable[DeadLetter]) -> int | None:
    return max((one.envelope.accepted_ms for one in letters), default=None)


def _disabled(webhook: Webhook, reason: str, now_ms: int) -> Event:
    return Event(
        id=f"disabled\n{webhook.id}\n{webhook.state_ms}",
        type="webhook.disabled",
        org=webhook.org,
        at_ms=now_ms,
        data={"webhook": webhook.id, "org": webhook.org, "reason": reason},
    )
