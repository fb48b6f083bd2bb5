"""Results in process: `apx.requests.ports.ResultStore` for tests and for trying things out."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

import msgspec

from apx.clock import Clock
from apx.requests.model import Event, Progress, Result

MOST_EVENTS = 1000


class MemoryResults:
    """Results of one process; gone with it."""

    def __init__(self, clock: Clock) -> None:
        """Keep results by `clock`."""
        self._clock = clock
        self._results: dict[str, tuple[Result, int, float]] = {}
        self._progress: dict[str, Progress] = {}
        self._events: dict[str, deque[Event]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._numbers = 0
        self.on_concluded: Callable[[str], None] = lambda _: None
        """Called with the id of a request that got its result from outside a delivery."""

    async def get(self, request_id: str) -> Result | Progress | None:
        """Return the result, else the progress, else None."""
        return self.result(request_id) or self._progress.get(request_id)

    async def wait(self, request_id: str, timeout_s: float) -> Result | Progress | None:
        """Return the result as soon as it is there, or what is known after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.result(request_id) is None:
                    await self._change(request_id)
        except TimeoutError:
            pass
        return await self.get(request_id)

    async def put_if_absent(self, result: Result) -> Result:
        """Write a terminal state unless there is one; return the one that stands."""
        if self.conclude(result, fence=0):
            self.on_concluded(result.id)
        return self._results[result.id][0]

    async def append_event(self, request_id: str, kind: Literal["chunk", "restart"], data: str) -> None:
        """Add to the request's event stream; nothing is added after its result."""
        if self.result(request_id) is None:
            self._add(request_id, Event(id="", kind=kind, data=data))

    async def events(self, request_id: str, after: str = "") -> AsyncIterator[Event]:
        """Yield the stream and the states, in order, until the terminal state."""
        known = {event.id for event in self._events.get(request_id, ())}
        cursor = int(after) if after in known else 0
        while True:
            new = [event for event in self._events.get(request_id, ()) if int(event.id) > cursor]
            for event in new:
                cursor = int(event.id)
                yield event
            if not new and self.result(request_id) is not None:
                return
            if not new:
                await self._change(request_id)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def result(self, request_id: str) -> Result | None:
        """Return the result, while it is kept."""
        stored = self._results.get(request_id)
        if stored is None:
            return None
        if stored[2] <= self._clock.time():
            del self._results[request_id]
            return None
        return stored[0]

    def fence(self, request_id: str) -> int | None:
        """Return the fence that the result was written under: 0 from outside a delivery, None without a result."""
        return self._results[request_id][1] if self.result(request_id) is not None else None

    def conclude(self, result: Result, *, fence: int) -> bool:
        """Write a result unless there is one; False when there is."""
        if self.result(result.id) is not None:
            return False
        self._results[result.id] = (result, fence, self._clock.time() + result.retention_s)
        self._add(result.id, Event(id="", kind="state", data=json.dumps({"state": result.state})))
        return True

    def progress(self, request_id: str, progress: Progress | None) -> None:
        """Note how far a request is; None: nothing is known any more."""
        if progress is None:
            self._progress.pop(request_id, None)
            return
        self._progress[request_id] = progress
        if progress.state == "running":
            state = {"state": "running", "attempt": progress.attempt}
            self._add(request_id, Event(id="", kind="state", data=json.dumps(state)))

    def _add(self, request_id: str, event: Event) -> None:
        self._numbers += 1
        stream = self._events.setdefault(request_id, deque(maxlen=MOST_EVENTS))
        stream.append(msgspec.structs.replace(event, id=str(self._numbers)))
        changed = self._changed.pop(request_id, None)
        if changed is not None:
            changed.set()

    async def _change(self, request_id: str) -> None:
        await self._changed.setdefault(request_id, asyncio.Event()).wait()
