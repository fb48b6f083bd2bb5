"""Steady traffic of many orgs: each places orders through the edge, and what they were answered is counted."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

ORDER = {"item": "lamp", "quantity": 1, "amount_usd": 40}
_MOST_UNDER_WAY = 200


class Traffic:
    """Orders of all orgs in turn, so many a second."""

    def __init__(self, edge: str, keys: Mapping[str, str], per_second: float) -> None:
        self._edge = edge
        self._keys = keys
        self._per_second = per_second
        self.answers: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        """Org → requests that were refused."""

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Let it flow until the end of the block."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:
            flow = asyncio.create_task(self._flow(session))
            try:
                yield
            finally:
                flow.cancel()
                await asyncio.gather(flow, return_exceptions=True)

    async def _flow(self, session: aiohttp.ClientSession) -> None:
        loop, calls = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        begun = loop.time()
        try:
            for number, org in enumerate(itertools.cycle(self._keys)):
                await asyncio.sleep(max(0.0, begun + number / self._per_second - loop.time()))
                if len(calls) < _MOST_UNDER_WAY:
                    call = asyncio.create_task(self._order(session, org))
                    calls.add(call)
                    call.add_done_callback(calls.discard)
        finally:
            await asyncio.gather(*calls, return_exceptions=True)

    async def _order(self, session: aiohttp.ClientSession, org: str) -> None:
        try:
            async with session.post(
                f"{self._edge}/orders/", json=ORDER, headers={"x-api-key": self._keys[org]}
            ) as answer:
                await answer.read()
                self.answers[answer.status] += 1
                self.refused[org] += answer.status >= 400  # noqa: PLR2004 -- HTTP's own line
        except (aiohttp.ClientError, TimeoutError):
            self.answers[0] += 1
