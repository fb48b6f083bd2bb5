"""A bus and a result store of one process with the contract's moves that a worker sees, and ways to break them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import msgspec

from apx.errors import Unavailable
from apx.requests.model import DeadLetter, Delivery, Envelope, Event, Progress, Result
from apx.requests.ports import ProductBounds, Published, Settled, Settlement

Lane = tuple[str, str, str]


class Lanes:
    """`Bus` and `ResultStore` over dictionaries; leases end only when a test says so."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.letters: list[DeadLetter] = []
        self.appended: list[tuple[str, str, str]] = []
        self.settle_batches: list[int] = []
        self.released: list[str] = []
        self.waits: list[Settlement] = []
        self.extended = 0
        self.away = False
        self.cancelled: asyncio.Queue[str] = asyncio.Queue()
        self._queues: dict[Lane, deque[Envelope]] = {}
        self._leases: dict[Lane, int] = {}
        self._attempts: dict[Lane, int] = {}
        self._crashes: dict[Lane, int] = {}
        self._fence = 0
        self._ready: deque[Lane] = deque()
        self._something = asyncio.Event()
        self._concluded: dict[str, asyncio.Event] = {}

    async def publish(self, envelope: Envelope) -> Published:
        lane = (envelope.product, envelope.org, envelope.lane)
        queue = self._queues.setdefault(lane, deque())
        queue.append(envelope)
        if len(queue) == 1:
            self._offer(lane)
        return Published("accepted", envelope.id)

    async def receive(self, worker: str, products: Sequence[ProductBounds], room: int) -> list[Delivery]:
        del worker
        self._check()
        if not self._ready:
            self._something.clear()
            try:
                await asyncio.wait_for(self._something.wait(), 0.2)
            except TimeoutError:
                return []
        self._check()
        served = {bound.product for bound in products}
        deliveries: list[Delivery] = []
        skipped: list[Lane] = []
        while self._ready and len(deliveries) < room:
            lane = self._ready.popleft()
            if lane[0] not in served:
                skipped.append(lane)
            elif (delivery := self._next(lane)) is not None:
                deliveries.append(delivery)
        self._ready.extend(skipped)
        await asyncio.sleep(0 if deliveries else 0.01)
        return deliveries

    async def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        self._check()
        self.settle_batches.append(len(settlements))
        return [self._settle(settlement) for settlement in settlements]

    async def extend(self, deliveries: Sequence[Delivery]) -> list[bool]:
        self._check()
        self.extended += len(deliveries)
        return [self._holds(d) and d.envelope.id not in self.results for d in deliveries]

    async def dead_letters(
        self, product: str | None = None, limit: int = 100, *, org: str | None = None
    ) -> list[DeadLetter]:
        of_product = [letter for letter in self.letters if product in (None, letter.envelope.product)]
        return [letter for letter in of_product if org in (None, letter.envelope.org)][:limit]

    async def forget_dead_letter(self, letter_id: str) -> bool:
        before = len(self.letters)
        self.letters = [letter for letter in self.letters if letter.id != letter_id]
        return len(self.letters) < before

    async def depth(self) -> dict[tuple[str, str], int]:
        return {lane[:2]: len(queue) for lane, queue in self._queues.items()}

    async def get(self, request_id: str) -> Result | Progress | None:
        return self.results.get(request_id)

    async def wait(self, request_id: str, timeout_s: float) -> Result | Progress | None:
        concluded = self._concluded.setdefault(request_id, asyncio.Event())
        if request_id not in self.results:
            with suppress(TimeoutError):
                await asyncio.wait_for(concluded.wait(), timeout_s)
        return self.results.get(request_id)

    async def put_if_absent(self, result: Result) -> Result:
        stands = self.results.setdefault(result.id, result)
        self._concluded.setdefault(result.id, asyncio.Event()).set()
        return stands

    async def append_event(self, request_id: str, kind: str, data: str) -> None:
        self._check()
        self.appended.append((request_id, kind, data))

    async def events(self, request_id: str, after: str = "") -> AsyncIterator[Event]:
        del after
        for n, (owner, kind, data) in enumerate(self.appended):
            if owner == request_id:
                yield Event(id=str(n), kind="restart" if kind == "restart" else "chunk", data=data)

    def cancellations(self) -> AsyncIterator[str]:
        return self._cancellations()

    async def _cancellations(self) -> AsyncIterator[str]:
        while True:
            yield await self.cancelled.get()

    def end_leases(self) -> None:
        """Pass every lane on, as when its worker has died."""
        for lane in list(self._leases):
            self._crashes[lane] = self._crashes.get(lane, 0) + 1
            self._give_back(lane)

    def steal_leases(self) -> None:
        """Pass every lane on to another worker, which keeps it."""
        for lane in self._leases:
            self._fence += 1
            self._leases[lane] = self._fence

    def _check(self) -> None:
        if self.away:
            raise Unavailable("the store is away")

    def _holds(self, delivery: Delivery) -> bool:
        e = delivery.envelope
        return self._leases.get((e.product, e.org, e.lane)) == delivery.fence

    def _next(self, lane: Lane) -> Delivery | None:
        queue = self._queues[lane]
        while queue and queue[0].id in self.results:
            queue.popleft()
        if not queue:
            return None
        self._fence += 1
        self._leases[lane] = self._fence
        self._attempts[lane] = attempt = self._attempts.get(lane, 0) + 1
        return Delivery(envelope=queue[0], attempt=attempt, fence=self._fence, crashes=self._crashes.get(lane, 0))

    def _settle(self, settlement: Settlement) -> Settled:
        envelope = settlement.delivery.envelope
        lane = (envelope.product, envelope.org, envelope.lane)
        if not self._holds(settlement.delivery):
            return Settled(counted=False)
        if settlement.result is not None:
            return self._finish(settlement, settlement.result, lane)
        if settlement.release:
            self._attempts[lane] -= 1
            self.released.append(envelope.id)
            self._give_back(lane)
            return Settled(counted=True)
        self.waits.append(settlement)
        del self._leases[lane]
        asyncio.get_running_loop().call_later(settlement.retry_after_s or 0, self._offer, lane)
        return Settled(counted=True)

    def _finish(self, settlement: Settlement, result: Result, lane: Lane) -> Settled:
        counted = self.results.setdefault(result.id, result) is result
        self._concluded.setdefault(result.id, asyncio.Event()).set()
        if counted and settlement.dead_letter is not None:
            self.letters.append(_letter(settlement))
        self._queues[lane].popleft()
        self._attempts.pop(lane, None)
        self._crashes.pop(lane, None)
        del self._leases[lane]
        if settlement.take_next:
            return Settled(counted=counted, next=self._next(lane))
        self._offer(lane)
        return Settled(counted=counted)

    def _give_back(self, lane: Lane) -> None:
        del self._leases[lane]
        self._offer(lane)

    def _offer(self, lane: Lane) -> None:
        if self._queues[lane]:
            self._ready.append(lane)
            self._something.set()


def _letter(settlement: Settlement) -> DeadLetter:
    problem = settlement.dead_letter
    delivery = settlement.delivery
    return DeadLetter(
        id=delivery.envelope.id,
        envelope=msgspec.structs.replace(delivery.envelope),
        reason=problem.code if problem else "",
        detail=problem.detail if problem else "",
        attempts=delivery.attempt,
        at_ms=0,
    )
