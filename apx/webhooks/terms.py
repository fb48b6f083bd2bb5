"""How a worker carries out a delivery: where it goes, what signs it, what its receiver's answer means."""

from __future__ import annotations

from collections import OrderedDict

from apx.catalog.model import Async, Backend, PolicyRef, ProductSpec, Retry
from apx.clock import Clock
from apx.requests.execution_body import Body
from apx.requests.execution_call import BackendFailure, Headers
from apx.requests.execution_once import FIRST_FINAL, Answered
from apx.requests.execution_retry import retry_after_s
from apx.requests.execution_rules import Failed, Outcome
from apx.requests.model import Envelope, Problem
from apx.requests.ports import ProductBounds
from apx.requests.specs import Terms
from apx.telemetry.repeated import again_and_again
from apx.webhooks.model import PRODUCT, Webhook
from apx.webhooks.signing import Vault, signed_headers
from apx.webhooks.store import WebhookStore
from apx.webhooks.urls import leads_to_loopback

WAITS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 64_800, 75_600)
"""Longest wait after each attempt but the last: ten in just under three days, the first ones soon."""
ATTEMPTS = len(WAITS_S) + 1
TIMEOUT_S, CONNECT_TIMEOUT_S = 15.0, 5.0
MOST_ANSWER_BYTES = 65_536
BOUNDS = ProductBounds(PRODUCT, concurrency=32, concurrency_per_org=4)
"""Half of one worker at most, over all workers; a receiver that is slow holds four of these."""
KNOWN_S = 2.0
MOST_KNOWN = 10_000
NOTE_EVERY_S = 5.0
NOTED_S = 600.0
"""For how long a receiver counts as well after a delivery was noted; a death takes days, and each note is a write."""
RETENTION_S = 86_400.0
"""How long it is known that a delivery has ended: as long as that it was queued."""
GONE = Problem(code="webhook-gone", detail="The receiver answered 410: it wants no more.")
DELETED = Problem(code="webhook-deleted", detail="The webhook was deleted.")
DISABLED = Problem(code="webhook-disabled", detail="The webhook is disabled; `apx webhook replay` sends it again.")
_GONE, _FIRST_REDIRECT = 410, 300
_LEAST_OF_WAIT = 0.8


class DeliveryRules:
    """Nothing but 2xx is a success; all else is tried again, but 410, by which a receiver says that it has gone."""

    attempts = ATTEMPTS
    budgeted = False

    def judge(self, outcome: Outcome) -> Failed | None:
        """Return what is wrong with an outcome; redirects are not followed, and no success."""
        if isinstance(outcome, BackendFailure):
            return Failed(Problem(code=outcome.code, detail=outcome.public), "again")
        if FIRST_FINAL <= outcome.status < _FIRST_REDIRECT:
            return None
        if outcome.status == _GONE:
            return Failed(GONE, "buried")
        detail = f"The receiver answered with status {outcome.status}."
        return Failed(Problem(code="receiver-status", detail=detail), "again")

    def kept(self, answer: Answered) -> Answered:
        """Keep the status alone: what a receiver says is of use to nobody here."""
        return Answered(answer.status, (), Body(b"", None, 0))

    def wait_s(self, attempt: int, chance: float, headers: Headers, *, now: float) -> float:
        """Wait up to a fifth less than the schedule says, and as long as the receiver asks for."""
        longest_s = WAITS_S[min(attempt, len(WAITS_S)) - 1]
        asked_s = min(retry_after_s(headers, now=now), float(WAITS_S[-1]))
        return max(longest_s * (1 - (1 - _LEAST_OF_WAIT) * chance), asked_s)


class _Noting(DeliveryRules):
    """The same for one webhook's deliveries, with its successes noted."""

    def __init__(self, deliveries: Deliveries, webhook_id: str) -> None:
        self._deliveries = deliveries
        self._webhook_id = webhook_id

    def judge(self, outcome: Outcome) -> Failed | None:
        """Return what is wrong with an outcome."""
        failed = super().judge(outcome)
        if failed is None:
            self._deliveries.succeeded(self._webhook_id)
        return failed


class Deliveries:
    """The terms of deliveries, in one worker."""

    def __init__(self, store: WebhookStore, vault: Vault, clock: Clock, *, loopback: bool = False) -> None:
        """`loopback`: let a webhook whose address is one of this machine's be called."""
        self._store = store
        self._vault = vault
        self._clock = clock
        self._loopback = loopback
        self._known: OrderedDict[str, tuple[float, Webhook]] = OrderedDict()
        self._succeeded: dict[str, int] = {}
        self._noted: OrderedDict[str, int] = OrderedDict()

    async def terms(self, envelope: Envelope) -> Terms:
        """Return how a delivery is carried out now: signed at this moment. Raises `Unavailable`, `Misconfigured`."""
        webhook = await self._find(envelope.org)
        if webhook is None:
            return Terms(spec=_spec(""), envelope=envelope, ended=("cancelled", DELETED))
        if not webhook.enabled:
            return Terms(spec=_spec(""), envelope=envelope, ended=("failed", DISABLED))
        headers = signed_headers(self._secrets(webhook), _message_id(envelope), int(self._clock.time()), envelope.body)
        private = self._loopback and leads_to_loopback(webhook.url)
        spec = _spec(webhook.url, headers, allow_private=private)
        return Terms(spec=spec, envelope=envelope, rules=_Noting(self, webhook.id))

    def succeeded(self, webhook_id: str) -> None:
        """Remember that a receiver has taken a delivery, until `note` tells the store."""
        at_ms = int(self._clock.time() * 1000)
        if at_ms - self._noted.get(webhook_id, 0) >= NOTED_S * 1000:
            self._succeeded[webhook_id] = at_ms

    async def note(self) -> None:
        """Tell the store which receivers are well. Raises `Unavailable`; then it is told the next time."""
        while self._succeeded:
            webhook_id, at_ms = next(iter(self._succeeded.items()))
            await self._store.delivered(webhook_id, at_ms)
            self._succeeded.pop(webhook_id, None)
            self._noted.pop(webhook_id, None)
            self._noted[webhook_id] = at_ms
            if len(self._noted) > MOST_KNOWN:
                self._noted.popitem(last=False)

    async def run(self, every_s: float = NOTE_EVERY_S) -> None:
        """Note again and again, until cancelled."""
        await again_and_again(self.note, every_s=every_s, failed="webhooks.not-noted")

    def _secrets(self, webhook: Webhook) -> list[str]:
        sealed = [webhook.secret]
        if webhook.previous and self._clock.time() * 1000 < webhook.previous_until_ms:
            sealed.append(webhook.previous)
        return [self._vault.open(webhook.id, one) for one in sealed]

    async def _find(self, webhook_id: str) -> Webhook | None:
        """Return a webhook as it was two seconds ago at most, and one that is disabled as it is.

        What is replayed comes right after its webhook was enabled: an older word would bury it again.
        """
        now_s = self._clock.monotonic()
        known = self._known.get(webhook_id)
        if known is not None and now_s - known[0] < KNOWN_S:
            return known[1]
        webhook = await self._store.find(webhook_id)
        self._known.pop(webhook_id, None)
        if webhook is not None and webhook.enabled:
            self._known[webhook_id] = (now_s, webhook)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return webhook


def _message_id(envelope: Envelope) -> str:
    """Return the `webhook-id`: what is sent again after it was given up has another id as a request, and this one."""
    return next((value for name, value in envelope.headers if name == "webhook-id"), envelope.id)


def _spec(url: str, headers: dict[str, str] | None = None, *, allow_private: bool = False) -> ProductSpec:
    return ProductSpec(
        title="Deliveries of webhooks",
        owner="apx",
        base_path="/apx-webhooks",
        mode="async",
        routes=(),
        plans=(),
        policy=PolicyRef(package="apx.webhooks"),
        backend=Backend(
            url=url,
            allow_private=allow_private,
            timeout_s=TIMEOUT_S,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            max_response_bytes=MOST_ANSWER_BYTES,
            headers={"user-agent": "APX-Webhooks/1", **(headers or {})},
            retry=Retry(attempts=ATTEMPTS),
        ),
        async_=Async(retention_s=RETENTION_S),
    )
