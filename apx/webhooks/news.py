"""What orgs are told besides their requests: marks of their budgets, rollouts of the products that they have keys for.

Told before it is recorded as done: whoever dies in between leaves it to be told again, under the same ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from apx.admission.keys import KeyStore
from apx.catalog.model import Mark
from apx.clock import Clock
from apx.errors import Unavailable
from apx.limits.budgets import Standing
from apx.rollout.active import AuditEntry
from apx.telemetry import metrics
from apx.webhooks.events import marked, moved
from apx.webhooks.forward import Dispatcher

_log = structlog.get_logger(__name__)


class News:
    """Queues it for the webhooks that ask for it.

    What goes wrong otherwise than for want of a store is logged: the record of what happened must not wait for it.
    """

    def __init__(self, dispatcher: Dispatcher, keys: KeyStore, clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._keys = keys
        self._clock = clock

    async def mark(self, standing: Standing, mark: Mark) -> None:
        """Tell an org that a budget passed a mark. Raises `Unavailable`; safe to repeat."""
        with _no_hindrance(org=standing.org, budget=standing.budget.name):
            await self._dispatcher.tell([marked(standing, mark, int(self._clock.time() * 1000))])

    async def movement(self, position: str, change: AuditEntry) -> None:
        """Tell the orgs that have keys for a product of a rollout's change. Raises `Unavailable`; safe to repeat."""
        with _no_hindrance(product=change.product, position=position):
            if moved(position, change, "") is not None:
                orgs = {record.org for record in await self._keys.list_keys() if change.product in record.plans}
                await self._dispatcher.tell(filter(None, (moved(position, change, org) for org in sorted(orgs))))


@contextmanager
def _no_hindrance(**what: str) -> Iterator[None]:
    try:
        yield
    except Unavailable:
        raise
    except Exception:  # noqa: BLE001 -- as `News` says
        metrics.WEBHOOK_FAILURES.inc()
        _log.exception("webhooks.not-told", **what)
