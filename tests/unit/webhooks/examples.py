"""Webhooks, and a platform in process that tells them: bus, store, forwarder, execution, all under one clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from apx.backends.memory.audit import MemoryAudit
from apx.backends.memory.bus import MemoryBus
from apx.backends.memory.keys import MemoryKeys
from apx.backends.memory.orgs import MemoryOrgs
from apx.backends.memory.results import MemoryResults
from apx.backends.memory.webhooks import MemoryWebhooks
from apx.clock import ManualClock
from apx.requests.execution import Carried, Execution
from apx.requests.execution_call import BackendFailure
from apx.requests.model import Delivery
from apx.requests.ports import Settlement
from apx.rollout.counts import Tally
from apx.usage.events import UsageEvent
from apx.webhooks.events import Event, finished
from apx.webhooks.forward import Dispatcher
from apx.webhooks.health import Health
from apx.webhooks.manage import Webhooks
from apx.webhooks.model import Webhook
from apx.webhooks.signing import Vault
from apx.webhooks.terms import BOUNDS, Deliveries
from tests.unit.worker.scripted import Answer, ScriptedClient
from tests.unit.worker.world import MemoryBlobs

VAULT = Vault(b"v" * 32)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://hooks.example/apx"


def webhook(webhook_id: str = "wh_1", **changes: Any) -> Webhook:
    values = {
        "id": webhook_id,
        "org": "acme",
        "url": URL,
        "secret": VAULT.seal(webhook_id, SECRET),
        "created_ms": 1,
        "state_ms": 1,
        **changes,
    }
    return Webhook(**values)


def usage_event(request: str = "req_1", **changes: Any) -> UsageEvent:
    values = {
        "request": request,
        "org": "acme",
        "product": "orders",
        "plan": "gold",
        "key_id": "key_canary",
        "release": "sha256:00",
        "mode": "async",
        "state": "succeeded",
        "status_class": "2xx",
        "accepted_ms": 1_700_000_000_000,
        "finished_ms": 1_700_000_001_500,
        "request_bytes": 3,
        "response_bytes": 4,
        "attempts": 1,
        "backend_s": 0.5,
        "cost_units": 1.0,
        **changes,
    }
    return UsageEvent(**values)


class Telling:
    """All of it in one process; a test moves the clock."""

    def __init__(self, *script: Answer | BackendFailure) -> None:
        self.clock = ManualClock()
        self.results = MemoryResults(self.clock)
        self.bus = MemoryBus(self.results, self.clock, lease_s=1e9, idle_s=0.0)
        self.store = MemoryWebhooks()
        self.dispatcher = Dispatcher(self.store, self.bus, self.clock)
        self.health = Health(self.store, self.bus, self.dispatcher, self.clock)
        self.dispatcher.on_overflow = self.health.disable
        self.deliveries = Deliveries(self.store, VAULT, self.clock)
        self.client = ScriptedClient(*(script or (Answer(204),)))
        self.tally = Tally()
        self.manage = Webhooks(self.store, VAULT, self.bus, self.clock, lambda size: b"\x07" * size)
        self.orgs, self.keys, self.audit = MemoryOrgs(), MemoryKeys(), MemoryAudit()
        self._execution = Execution(
            self.client,
            self.results,
            MemoryBlobs(),
            clock=self.clock,
            chance=lambda: 0.0,
            tally=self.tally,
        )

    @property
    def now_ms(self) -> int:
        return int(self.clock.time() * 1000)

    def ended(self, request: str = "req_1", **changes: Any) -> Event:
        return finished(usage_event(request, **{"accepted_ms": self.now_ms, "finished_ms": self.now_ms, **changes}))

    async def tell(self, *requests: str) -> None:
        await self.dispatcher.tell([self.ended(request) for request in requests])

    async def attempt(self) -> list[Carried]:
        """Carry out what is due, each once; return what came of it."""
        return await self.end(await self.bus.receive("w", [BOUNDS], 100))

    async def end(self, under_way: Sequence[Delivery]) -> list[Carried]:
        """Carry out what was received."""
        carried = [await self._carry_out(one) for one in under_way]
        await self.bus.settle([one.settlement for one in carried])
        await self.deliveries.note()
        return carried

    async def until_idle(self, *, most_s: float = 4 * 86_400) -> list[Settlement]:
        """Let time pass, hour by hour, until nothing waits; return what was settled with a result."""
        ended: list[Settlement] = []
        passed_s = 0.0
        while passed_s < most_s:
            carried = await self.attempt()
            ended += [one.settlement for one in carried if one.settlement.result is not None]
            if not carried:
                if not any((await self.bus.depth()).values()):
                    return ended
                self.clock.advance(600)
                passed_s += 600
            await asyncio.sleep(0)
        return ended

    def sent(self) -> Sequence[dict[str, str]]:
        """Return the headers of what was sent."""
        return [dict(one.headers) for one in self.client.requests]

    async def _carry_out(self, delivery: Delivery) -> Carried:
        terms = await self.deliveries.terms(delivery.envelope)
        if terms.ended is not None:
            return self._execution.end(delivery, *terms.ended, terms.spec)
        return await self._execution.carry_out(delivery, terms.spec, terms.rules)
