"""Lanes in process: `apx.requests.ports.Bus` for tests and for trying things out.

The promises are those of the port but for durability; costs grow with the number of lanes, as a test can afford.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TypeAlias

from apx.backends.memory.results import MemoryResults
from apx.backends.memory.usage import MemoryUsage
from apx.clock import Clock
from apx.requests.model import DeadLetter, Delivery, Envelope, Problem, Progress, Result
from apx.requests.ports import ProductBounds, Published, Settled, Settlement

QUANTUM = 8

_Owner: TypeAlias = tuple[str, str]


class _Lane:
    """One lane: `fence` is set while it is leased, `due` while its head waits for the next attempt."""

    def __init__(self, owner: _Owner) -> None:
        self.owner = owner
        self.queue: deque[Envelope] = deque()
        self.attempts = 0
        self.crashes = 0
        self.fence: int | None = None
        self.last_fence = 0
        self.expires = 0.0
        self.due: float | None = None
        self.turn = 0


class MemoryBus:
    """The bus of one process; gone with it."""

    def __init__(self, results: MemoryResults, clock: Clock, *, lease_s: float = 30.0, idle_s: float = 1.0) -> None:
        """Write results into `results`; leases and retries go by `clock`."""
        self.usage = MemoryUsage()
        self._results = results
        self._clock = clock
        self._lease_s = lease_s
        self._idle_s = idle_s
        self._fences = 0
        self._lanes: dict[tuple[str, str, str], _Lane] = {}
        self._ready: dict[_Owner, deque[_Lane]] = {}
        self._rings: dict[str, deque[str]] = {}
        self._idempotent: dict[str, tuple[str, str, float]] = {}
        self._letters: list[DeadLetter] = []
        self._letter_number = 0
        self._wake = asyncio.Event()
        self._listeners: set[asyncio.Queue[str]] = set()
        results.on_concluded = self._tell_cancelled

    async def publish(self, envelope: Envelope) -> Published:
        """Queue one request."""
        owner = (envelope.product, envelope.org)
        if envelope.idempotency and (stored := self._idempotent.get(envelope.idempotency)):
            stored_id, fingerprint, expires = stored
            if expires > self._clock.time():
                return Published("duplicate" if fingerprint == envelope.fingerprint else "conflict", stored_id)
        if self._count(owner) - self._in_flight()[owner] >= envelope.backlog:
            return Published("backlog", envelope.id)
        if envelope.idempotency:
            expires = self._clock.time() + envelope.idempotency_ttl_s
            self._idempotent[envelope.idempotency] = (envelope.id, envelope.fingerprint, expires)
        lane = self._lanes.setdefault((*owner, envelope.lane), _Lane(owner))
        lane.queue.append(envelope)
        if len(lane.queue) == 1:
            self._offer(lane)
        return Published("accepted", envelope.id)

    async def receive(self, worker: str, products: Sequence[ProductBounds], room: int) -> list[Delivery]:  # noqa: ARG002
        """Take up to `room` deliveries; waits up to `idle_s` when there are none."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._idle_s
        while True:
            self._wake.clear()
            taken = self._take(products, room)
            left_s = end - loop.time()
            if taken or left_s <= 0:
                return taken
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, self._until_due())):
                    await self._wake.wait()

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write results and hand lanes on."""
        return [self._settle(settlement) for settlement in settlements]

    async def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Renew leases."""
        return [self._extend(delivery) for delivery in deliveries]

    async def cancellations(self) -> AsyncIterator[str]:
        """Yield ids of requests that got their result from outside."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def dead_letters(
        self, product: str | None = None, limit: int = 100, *, org: str | None = None
    ) -> list[DeadLetter]:
        """List the newest dead letters, newest first."""
        of_product = [letter for letter in self._letters if product in (None, letter.envelope.product)]
        letters = [letter for letter in of_product if org in (None, letter.envelope.org)]
        return letters[::-1][:limit]

    async def forget_dead_letter(self, letter_id: str) -> bool:
        """Remove one dead letter."""
        before = len(self._letters)
        self._letters = [letter for letter in self._letters if letter.id != letter_id]
        return len(self._letters) < before

    async def depth(self) -> dict[tuple[str, str], int]:
        """Count waiting and running requests by (product, org)."""
        owners = {lane.owner for lane in self._lanes.values()}
        return {owner: self._count(owner) for owner in owners}

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def _count(self, owner: _Owner) -> int:
        return sum(len(lane.queue) for lane in self._lanes.values() if lane.owner == owner)

    def _in_flight(self) -> Counter[_Owner | str]:
        leased = [lane.owner for lane in self._lanes.values() if lane.fence is not None]
        return Counter([*leased, *(product for product, _ in leased)])

    def _tell_cancelled(self, request_id: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(request_id)

    def _until_due(self) -> float:
        times = [lane.due for lane in self._lanes.values() if lane.due is not None]
        times += [lane.expires for lane in self._lanes.values() if lane.fence is not None]
        return max(0.001, min(times, default=math.inf) - self._clock.time())

    def _offer(self, lane: _Lane, *, first: bool = False) -> None:
        product, org = lane.owner
        ready = self._ready.setdefault(lane.owner, deque())
        (ready.appendleft if first else ready.append)(lane)
        ring = self._rings.setdefault(product, deque())
        if org not in ring:
            ring.append(org)
        self._wake.set()

    def _take(self, products: Sequence[ProductBounds], room: int) -> list[Delivery]:
        self._pass_on_expired()
        taken: list[Delivery] = []
        before = -1
        while before < len(taken) < room:
            before = len(taken)
            for bounds in products[: room - len(taken)]:
                taken += self._turn(bounds)
        return taken

    def _turn(self, bounds: ProductBounds) -> list[Delivery]:
        ring, in_flight = self._rings.get(bounds.product, deque()), self._in_flight()
        if in_flight[bounds.product] >= bounds.concurrency:
            return []
        for _ in range(len(ring)):
            org = ring.popleft()
            ready = self._ready[(bounds.product, org)]
            full = in_flight[(bounds.product, org)] >= bounds.concurrency_per_org
            lane = None if full else ready.popleft()
            if ready:
                ring.append(org)
            self._fences += 1
            delivery = self._start(lane, self._fences, turn=1) if lane else None
            if delivery:
                return [delivery]
        return []

    def _start(self, lane: _Lane, fence: int, *, turn: int) -> Delivery | None:
        while lane.queue and self._results.result(lane.queue[0].id) is not None:
            self._drop_head(lane)
        if not lane.queue:
            return None
        lane.attempts += 1
        lane.fence, lane.last_fence, lane.turn = fence, fence, turn
        lane.expires = self._clock.time() + self._lease_s
        head, now_ms = lane.queue[0], int(self._clock.time() * 1000)
        self._results.progress(head.id, Progress(state="running", started_ms=now_ms, attempt=lane.attempts))
        return _delivery(lane, fence)

    def _drop_head(self, lane: _Lane) -> None:
        head = lane.queue.popleft()
        result = self._results.result(head.id)
        if result is not None:
            self.usage.note(head, result)
        lane.attempts, lane.crashes = 0, 0
        self._results.progress(head.id, None)
        if not lane.queue:
            lane.fence = None
            self._lanes.pop((*lane.owner, head.lane), None)

    def _pass_on_expired(self) -> None:
        now = self._clock.time()
        for lane in list(self._lanes.values()):
            if lane.fence is not None and lane.expires <= now:
                lane.fence, lane.last_fence = None, 0
                lane.crashes += 1
                self._wait_again(lane)
                self._offer(lane, first=True)
            elif lane.due is not None and lane.due <= now:
                lane.due = None
                self._offer(lane, first=True)

    def _wait_again(self, lane: _Lane) -> None:
        self._results.progress(lane.queue[0].id, Progress(state="accepted", attempt=lane.attempts))

    def _lane_of(self, delivery: Delivery) -> _Lane | None:
        envelope = delivery.envelope
        return self._lanes.get((envelope.product, envelope.org, envelope.lane))

    def _holds(self, lane: _Lane | None, delivery: Delivery) -> bool:
        return lane is not None and lane.fence == delivery.fence and lane.queue[0].id == delivery.envelope.id

    def _extend(self, delivery: Delivery) -> bool:
        lane = self._lane_of(delivery)
        if lane is None or not self._holds(lane, delivery) or self._results.result(delivery.envelope.id) is not None:
            return False
        lane.expires = self._clock.time() + self._lease_s
        return True

    def _settle(self, settlement: Settlement) -> Settled:
        delivery, lane = settlement.delivery, self._lane_of(settlement.delivery)
        if lane is None or not self._holds(lane, delivery):
            return self._again(settlement, lane)
        if settlement.result is not None:
            return self._finish(lane, settlement, settlement.result)
        if self._results.result(delivery.envelope.id) is not None:
            self._drop_head(lane)
            self._hand_back(lane)
            return Settled(counted=False)
        lane.fence = None
        if settlement.release:
            lane.attempts -= 1
            self._offer(lane, first=True)
        else:
            lane.due = self._clock.time() + (settlement.retry_after_s or 0.0)
            self._wake.set()
        self._wait_again(lane)
        return Settled(counted=True)

    def _again(self, settlement: Settlement, lane: _Lane | None) -> Settled:
        """Answer the same settlement once more, or one of a lease that has passed to somebody else."""
        delivery = settlement.delivery
        if settlement.result is None:
            same = lane is not None and lane.fence is None and lane.last_fence == delivery.fence
            return Settled(counted=same and lane is not None and lane.queue[0].id == delivery.envelope.id)
        counted = self._results.fence(delivery.envelope.id) == delivery.fence
        if not settlement.take_next or lane is None or lane.fence != delivery.fence:
            return Settled(counted)
        return Settled(counted, _delivery(lane, delivery.fence))

    def _finish(self, lane: _Lane, settlement: Settlement, result: Result) -> Settled:
        delivery = settlement.delivery
        counted = self._results.conclude(result, fence=delivery.fence)
        if counted and settlement.dead_letter is not None:
            self._bury(delivery, settlement.dead_letter, result.finished_ms)
        self._drop_head(lane)
        others = any(self._ready.get((lane.owner[0], org)) for org in self._rings.get(lane.owner[0], ()))
        if settlement.take_next and lane.queue and (lane.turn < QUANTUM or not others):
            following = self._start(lane, delivery.fence, turn=lane.turn + 1)
            if following is not None:
                return Settled(counted, following)
        self._hand_back(lane)
        return Settled(counted)

    def _hand_back(self, lane: _Lane) -> None:
        lane.fence = None
        if lane.queue:
            self._offer(lane)
        self._wake.set()

    def _bury(self, delivery: Delivery, reason: Problem, at_ms: int) -> None:
        self._letter_number += 1
        letter = DeadLetter(
            id=f"{delivery.envelope.product}:{self._letter_number}",
            envelope=delivery.envelope,
            reason=reason.code,
            detail=reason.detail,
            attempts=delivery.attempt,
            at_ms=at_ms,
        )
        self._letters.append(letter)


def _delivery(lane: _Lane, fence: int) -> Delivery:
    return Delivery(envelope=lane.queue[0], attempt=lane.attempts, fence=fence, crashes=lane.crashes)
