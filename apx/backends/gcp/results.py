"""Results on Google Cloud: Firestore holds them, Valkey remembers the latest and tells who waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Literal

from apx.backends.gcp.documents import Documents
from apx.backends.valkey.results import ValkeyResults
from apx.errors import Unavailable
from apx.requests.model import Event, Progress, Result

RECOVERY_S = 90.0
"""How long lanes without their data may not know a request yet that the journal has."""


class JournaledResults:
    """The results that one process reads and writes."""

    def __init__(
        self,
        cache: ValkeyResults,
        documents: Documents,
        age_s: Callable[[], Awaitable[float]],
        *,
        recovery_s: float = RECOVERY_S,
    ) -> None:
        """`age_s` says for how long the lanes have had their data."""
        self._cache = cache
        self._documents = documents
        self._age_s = age_s
        self._recovery_s = recovery_s

    async def get(self, request_id: str) -> Result | Progress | None:
        """Return the result, else the progress, else None."""
        try:
            known = await self._cache.get(request_id)
        except Unavailable:
            stored = await self._documents.result(request_id)
            if stored is None:
                raise
            return stored
        return known if known is not None else await self._stored(request_id)

    async def wait(self, request_id: str, timeout_s: float) -> Result | Progress | None:
        """Return the result as soon as it is there, or what is known after `timeout_s`."""
        known = await self.get(request_id)
        return known if isinstance(known, Result) else await self._cache.wait(request_id, timeout_s)

    async def put_if_absent(self, result: Result) -> Result:
        """Write a terminal state unless there is one; return the one that stands."""
        standing = await self._documents.conclude(result)
        await self.remember(standing)
        return standing

    async def append_event(self, request_id: str, kind: Literal["chunk", "restart"], data: str) -> None:
        """Add to the request's event stream; nothing is added after its result."""
        await self._cache.append_event(request_id, kind, data)

    async def events(self, request_id: str, after: str = "") -> AsyncIterator[Event]:
        """Yield the stream and the states, in order, until the terminal state."""
        await self.get(request_id)  # so that a result that Valkey has forgotten ends the stream
        async for event in self._cache.events(request_id, after):
            yield event

    async def remember(self, result: Result) -> None:
        """Let Valkey know a result that Firestore holds; where it does not answer, Firestore is asked later."""
        with suppress(Unavailable):
            await self._cache.put_if_absent(result)

    async def aclose(self) -> None:
        """Stop listening; the clients stay open."""
        await self._cache.aclose()

    async def _stored(self, request_id: str) -> Result | None:
        stored = await self._documents.result(request_id)
        if stored is not None:
            await self.remember(stored)
        elif await self._age_s() < self._recovery_s:
            raise Unavailable(f"{request_id}: the lanes are new; what the journal has may not be in them yet")
        return stored
