"""Error budgets of thirty days, from what managed Prometheus keeps in Cloud Monitoring. The `Objectives` port.

A product's SLO stands in its product.yaml and travels with its release; Cloud Monitoring has no object for it, as
products come and go with each merge and the stacks do not. So its budget is counted in PromQL, from the metric that
workers count each call to a backend in. What Cloud Monitoring has an object for is the platform's own objective, whose
budget only Google computes: it is read with Google's client (`platform_slo.py`). It judges no product; where one's
budget is spent it tells the operator whether the backend alone failed, or the platform too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from apx.backends.gcp import names
from apx.backends.gcp.identity import Identity
from apx.backends.gcp.platform_slo import PlatformSlo
from apx.backends.gcp.promql import PromQl, Sample, open_session
from apx.catalog.model import Slo
from apx.clock import SystemClock
from apx.errors import Misconfigured, Unavailable
from apx.rollout.budget import Budget, budget
from apx.rollout.objectives import Objectives
from apx.telemetry import metrics

DAYS = 30
AT_FAULT = frozenset(("5xx", "none"))
"""Classes of answers that failed by the backend's fault, as `Counts.errors` counts them."""
WORKERS_QUERY = f'count({metrics.EVENT_LOOP_LAG.name}{{job="{names.WORKERS}"}})'
"""Workers whose metrics came in within the last five minutes, which is how far PromQL looks back for a value."""


def answers_query(product: str) -> str:
    """Return the query for a product's answers in the window, by class of status.

    `increase` does not know what a worker counted of a class before that was first collected (every 30 s): the budget
    looks better by those first failures of each worker's life.
    """
    named = msgspec.json.encode(product).decode()  # PromQL quotes as Go does, which takes JSON's escapes
    return f"sum by (status_class) (increase({metrics.BACKEND_DURATION.name}_count{{product={named}}}[{DAYS}d]))"


class GoogleObjectives(Objectives):
    """Counts in all regions of the project.

    Numbers that are no longer current are none: `Unavailable` where no worker's metrics came in within five minutes.
    Synchronous products have no such metric (Envoy calls their backends): None.
    """

    def __init__(self, prometheus: PromQl, platform: PlatformSlo) -> None:
        self._prometheus = prometheus
        self._platform = platform

    async def spent(self, product: str, slo: Slo) -> Budget | None:
        """Return the budget of the last 30 days."""
        if not sum(sample.value for sample in await self._prometheus.ask(WORKERS_QUERY)):
            raise Unavailable("Cloud Monitoring got no worker's metrics for five minutes: what it has is old")
        answers = _by_class(await self._prometheus.ask(answers_query(product)))
        errors = sum(answers[one] for one in answers.keys() & AT_FAULT)
        found = budget(slo, round(sum(answers.values())), round(errors), window=f"the last {DAYS} days")
        if found is None or found.spent < 1:
            return found
        return msgspec.structs.replace(found, text=f"{found.text}; {await self._platforms()}")

    async def _platforms(self) -> str:
        """Say what is left of the platform's own budget; that it cannot be read changes no product's."""
        try:
            left = await self._platform.left()
        except (Unavailable, Misconfigured):
            left = None
        return f"of the platform's own budget {'nobody knows what' if left is None else f'{100 * left:.0f} %'} is left"


@asynccontextmanager
async def connect(project: str) -> AsyncIterator[GoogleObjectives]:
    """Ask by this process's own identity; nothing is sent before the first question."""
    identity = Identity()
    async with open_session() as session, PlatformSlo(identity, project, SystemClock()) as platform:
        yield GoogleObjectives(PromQl(session, identity, project), platform)


def _by_class(samples: Sequence[Sample]) -> dict[str, float]:
    """Return answers by their class. Raises `Unavailable` for what no worker counts so."""
    counted: dict[str, float] = {}
    for sample in samples:
        one = sample.labels.get(metrics.STATUS_CLASS.name, "")
        if one not in metrics.STATUS_CLASS.values or one in counted or sample.value < 0:
            raise Unavailable(f"asking Cloud Monitoring: {sample.value:g} answers of class {one!r} are no count")
        counted[one] = sample.value
    return counted
