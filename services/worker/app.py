"""The worker: takes deliveries as it has room, carries each out in a task of its own, settles what comes of them.

A delivery leaves a worker in one of these ways: settled with a result or a wait, handed back because the worker
drains, or dropped because its lease passed on or the request was cancelled (what came of it is then not written).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog

from apx.catalog.model import ProductSpec
from apx.clock import Clock
from apx.errors import ApxError, Unavailable
from apx.limits.store import LimitStore
from apx.requests.costing import settled_usd, unsettled
from apx.requests.execution import Carried, Chance, Execution
from apx.requests.execution_call import BackendClient
from apx.requests.model import Delivery, Envelope
from apx.requests.ports import BlobStore, Bus, ProductBounds, ResultStore, Settled, Settlement
from apx.requests.specs import Terms
from apx.rollout.counts import Tally
from apx.telemetry import metrics
from services.worker.costs import Costs
from services.worker.held import Held, Holding
from services.worker.report import report
from services.worker.settings import WorkerSettings
from services.worker.settling import Settler

TermsOf = Callable[[Envelope], Awaitable[Terms]]
"""How a queued request is carried out, by a verified release. Raises `ApxError`."""
Bounds = Callable[[], Sequence[ProductBounds]]

MOST_RESTING = 8
"""Most deliveries held, resting ones included, as a multiple of `concurrency`."""
BROKEN_S = 1.0
"""Wait after a failure that nobody foresaw; it counts as an attempt."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
HAND_BACK_S = 2.0
"""How long handing back may take when the drain is over."""

_log = structlog.get_logger(__name__)


class Parts(Protocol):
    """What a worker is made of."""

    @property
    def bus(self) -> Bus:
        """Where deliveries come from."""

    @property
    def results(self) -> ResultStore:
        """Where streamed pieces go."""

    @property
    def blobs(self) -> BlobStore:
        """Where large bodies go."""

    @property
    def client(self) -> BackendClient:
        """What calls the backends."""

    @property
    def terms(self) -> TermsOf:
        """What each request's release says."""

    @property
    def tally(self) -> Tally:
        """Where calls are counted."""

    @property
    def limits(self) -> LimitStore:
        """Where budgets are told what requests cost."""

    @property
    def bounds(self) -> Bounds:
        """Which products are served, and how much of each at a time."""


class Worker:
    """Carries out requests until it is told to stop."""

    def __init__(self, parts: Parts, settings: WorkerSettings, *, name: str, clock: Clock, chance: Chance) -> None:
        self._parts = parts
        self._settings = settings
        self._name = name
        self._clock = clock
        self._chance = chance
        self._execution = Execution(
            parts.client, parts.results, parts.blobs, clock=clock, chance=chance, tally=parts.tally
        )
        self._settler = Settler(parts.bus)
        self._costs = Costs(parts.limits)
        self._held = Held(parts.bus, clock, settings.lease_s)
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._execution.resting.began = self._rests
        self._stopping = asyncio.Event()
        self._receiving = False

    @property
    def ready(self) -> bool:
        """True while it takes deliveries and the bus answers. For any thread."""
        return self._receiving

    @property
    def in_flight(self) -> int:
        """How many deliveries it holds."""
        return len(self._held)

    def stop(self) -> None:
        """Take no more; `run` returns once what is under way has ended or the drain is over."""
        self._stopping.set()
        self._room.set()

    async def run(self) -> None:
        """Work until `stop`, then drain: at most `drain_s` and a little for handing back."""
        background = [
            asyncio.create_task(self._held.renew_for_ever()),
            asyncio.create_task(self._hear_cancellations()),
        ]
        try:
            await self._receive_until_stopped()
            await self._drain()
        finally:
            self._receiving = False
            for task in (*background, *self._tasks):
                task.cancel()
            await asyncio.gather(*background, *self._tasks, return_exceptions=True)

    async def _receive_until_stopped(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            room = self._free()
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            try:
                # Not cancelled by `stop`: what the bus hands over at that moment would be lost until its lease ends.
                deliveries = await self._parts.bus.receive(self._name, self._bounds(), room)
            except Exception as error:  # noqa: BLE001 -- whatever it was, it must not end what is under way
                self._receiving = False
                trace = None if isinstance(error, Unavailable) else error
                _log.warning("receive-failed", again_s=pause_s, error=str(error), exc_info=trace)
                await self._pause(pause_s * (0.5 + self._chance()))
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                continue
            pause_s = FIRST_PAUSE_S
            self._receiving = True
            for delivery in deliveries:
                self._start(delivery)
            if not deliveries:
                await asyncio.sleep(0)

    def _free(self) -> int:
        """Return how many more deliveries there is room for; those that rest take up none, within reason."""
        most = self._settings.concurrency
        held = len(self._tasks)
        return min(most - held + self._execution.resting.total, MOST_RESTING * most - held)

    def _rests(self) -> None:
        self._room.set()
        if self._stopping.is_set():
            self._hand_back_resting()

    def _hand_back_resting(self) -> None:
        for holding in self._held:
            if holding.call in self._execution.resting:
                holding.drop("drained")

    def _bounds(self) -> Sequence[ProductBounds]:
        """Return the bounds of the products to take; one whose backend is in a storm does not fill this worker."""
        bounds = self._parts.bounds()
        crowded = self._execution.resting.crowded(self._settings.concurrency)
        return [bound for bound in bounds if bound.product not in crowded] if crowded else bounds

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._work(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery-task-failed", exc_info=error)

    async def _work(self, delivery: Delivery) -> None:
        """Carry out `delivery`, and the lane's next ones that come in its place."""
        following: Delivery | None = delivery
        while following is not None:
            following = (await self._work_one(following)).next

    async def _work_one(self, delivery: Delivery) -> Settled:
        metrics.DELIVERIES.inc(delivery.envelope.product)
        began_s = self._clock.monotonic()
        holding = self._held.take(delivery)
        try:
            carried = await self._carried(holding)
            if carried is None:
                return await self._let_go(holding)
            settled = await self._settler.settle(self._with_next(carried.settlement))
        finally:
            self._held.give(holding)
        if settled.counted and carried.settlement.result is not None:
            self._costs.settle(unsettled(delivery.envelope, carried.settlement.result))
        duration_s = self._clock.monotonic() - began_s
        report(carried, counted=settled.counted, duration_s=duration_s, log=self._settings.log_requests)
        return settled

    async def _carried(self, holding: Holding) -> Carried | None:
        """Return what is to be settled; None when the delivery was let go meanwhile."""
        task = asyncio.current_task()
        holding.call = task
        try:
            carried = await self._carry_out(holding)
        except asyncio.CancelledError:
            if holding.let_go is None or task is None:
                raise
            task.uncancel()
            return None
        finally:
            holding.call = None
        return None if holding.let_go else carried

    async def _carry_out(self, holding: Holding) -> Carried:
        delivery = holding.delivery
        envelope = delivery.envelope
        try:
            terms = await self._parts.terms(envelope)
        except ApxError as error:
            _log.warning("release-missing", product=envelope.product, release=envelope.release, error=str(error))
            return await self._execution.hand_back_later(delivery, error)
        spec = terms.spec
        delivery = msgspec.structs.replace(delivery, envelope=terms.envelope)
        if terms.ended is not None:
            return _costed(self._execution.end(delivery, *terms.ended, spec), spec)
        holding.streams = spec.backend.streaming
        try:
            return _costed(await self._execution.carry_out(delivery, spec, terms.rules), spec)
        except Exception as error:  # noqa: BLE001  # one request's surprise must not end the worker; it is logged whole
            _log.exception("execution-failed", request_id=envelope.id, product=envelope.product)
            settlement = Settlement(delivery=delivery, retry_after_s=BROKEN_S * delivery.attempt)
            return Carried(settlement=settlement, reason="internal", called=True, detail=type(error).__name__)

    async def _let_go(self, holding: Holding) -> Settled:
        """Give up a delivery without a result; the bus knows whether the lane is still ours to hand back."""
        envelope = holding.delivery.envelope
        if holding.let_go == "drained" and holding.streams:
            with suppress(Unavailable):  # the next attempt begins anew
                await self._parts.results.append_event(envelope.id, "restart", "")
        elif holding.let_go == "lost":
            metrics.LEASES_LOST.inc(envelope.product)
        _log.info("delivery-let-go", request_id=envelope.id, product=envelope.product, reason=holding.let_go)
        return await self._settler.settle(Settlement(delivery=holding.delivery, release=True))

    def _with_next(self, settlement: Settlement) -> Settlement:
        if settlement.result is None or self._stopping.is_set():
            return settlement
        return Settlement(
            delivery=settlement.delivery,
            result=settlement.result,
            dead_letter=settlement.dead_letter,
            take_next=True,
        )

    async def _hear_cancellations(self) -> None:
        while True:
            try:
                async for request_id in self._parts.bus.cancellations():
                    self._held.drop(request_id, "cancelled")
            except Unavailable:
                pass  # a hint only: renewals find out too
            except Exception:  # noqa: BLE001  # one that cannot be read must not be the last one heard
                _log.exception("cancellations-not-heard")
            await asyncio.sleep(FIRST_PAUSE_S)

    async def _drain(self) -> None:
        """Hand back what only waits, let what is under way end, then hand back the rest."""
        self._receiving = False
        _log.info("drain-started", in_flight=self.in_flight, drain_s=self._settings.drain_s)
        self._hand_back_resting()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.drain_s)
        left = [holding for holding in self._held if holding.call is not None]
        for holding in left:
            holding.drop("drained")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=HAND_BACK_S)
        await self._costs.aclose(HAND_BACK_S)
        _log.info("drain-ended", handed_back=len(left), unsettled=len(self._tasks))


def _costed(carried: Carried, spec: ProductSpec) -> Carried:
    """Say in the result what the request cost, where that is not what was set aside for it."""
    result = carried.settlement.result
    cost_usd = None if result is None else settled_usd(spec.cost, result)
    if result is None or cost_usd is None:
        return carried
    result = msgspec.structs.replace(result, cost_usd=cost_usd)
    settlement = msgspec.structs.replace(carried.settlement, result=result)
    return msgspec.structs.replace(carried, settlement=settlement)
