"""Budgets, looked at again and again by one control process for all: what passed a mark is told."""

from __future__ import annotations

import secrets

from apx.audit.marks import Teller
from apx.bootstrap import Backends
from apx.catalog.model import Budget
from apx.clock import Clock
from apx.limits.budgets import read_budgets, spans_of
from apx.limits.windows import Span
from apx.telemetry.repeated import again_and_again
from apx.webhooks.news import News

LEASE = "budgets"
_EVERY_S, _LEASE_S = 10.0, 60.0
LATE_S = 1800.0
"""A day or month that ended so short a time ago is looked at too: its last requests, or what nobody looked at."""


async def watch_budgets(backends: Backends, news: News, clock: Clock) -> None:
    """Tell each mark that a budget passes once, until cancelled."""
    teller, holder = Teller(backends.audit, news.mark), secrets.token_hex(8)

    async def look_if_leading() -> None:
        if await backends.leases.hold(LEASE, holder, _LEASE_S):
            await look(backends, teller, clock)

    await again_and_again(look_if_leading, every_s=_EVERY_S, failed="budgets.not-read")


async def look(backends: Backends, teller: Teller, clock: Clock) -> None:
    """Look at the budgets of every org once. Raises `Unavailable`."""
    now_s = clock.time()
    wanted: list[tuple[str, Budget, Span]] = []
    for state in await backends.orgs.list_orgs():
        if state.terms is not None:
            for budget, span in spans_of(state.terms.budgets, state.terms.timezone, now_s):
                late = spans_of([budget], state.terms.timezone, now_s - LATE_S)[0][1]
                wanted += [(state.org, budget, one) for one in dict.fromkeys((late, span))]
    for standing in await read_budgets(backends.limits, wanted):
        await teller.tell(standing)
