"""What every `Bus` promises."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from apx.requests.model import Delivery, Problem, Progress
from apx.requests.ports import Bus, ProductBounds, ResultStore, Settlement

from .conftest import LEASE_S, Ports, until
from .requests_examples import BOUNDS, done, envelope, result, take, take_one


async def publish(bus: Bus, count: int = 1, **changes: object) -> list[str]:
    envelopes = [envelope(**changes) for _ in range(count)]
    published = await asyncio.gather(*(bus.publish(e) for e in envelopes))
    assert {p.outcome for p in published} == {"accepted"}
    return [e.id for e in envelopes]


async def nothing_is_due(bus: Bus, bounds: tuple[ProductBounds, ...] = BOUNDS) -> bool:
    return await bus.receive("w", bounds, 100) == []


async def work_off(bus: Bus) -> list[str]:
    """Settle whatever comes, one after the other; return the ids in the order of their deliveries."""
    order: list[str] = []
    while taken := await bus.receive("w", BOUNDS, 1):
        order.append(taken[0].envelope.id)
        await bus.settle([done(taken[0])])
    return order


class TestLanes:
    async def test_a_delivery_is_what_was_published(self, bus: Bus) -> None:
        sent = envelope(body=b"\x00\xff body", headers=(("x-a", "b"),), query="q=1")
        await bus.publish(sent)
        delivery = await take_one(bus)
        assert delivery.envelope == sent
        assert delivery.attempt == 1

    async def test_a_lane_is_first_in_first_out(self, bus: Bus) -> None:
        ids = await publish(bus, 20)
        assert await work_off(bus) == ids

    async def test_a_lane_waits_for_its_head(self, bus: Bus) -> None:
        await publish(bus, 2)
        await take_one(bus)
        assert await nothing_is_due(bus)

    async def test_lanes_do_not_wait_for_one_another(self, bus: Bus) -> None:
        for lane in ("a", "b", "c"):
            await publish(bus, 2, lane=lane)
        assert {d.envelope.lane for d in await take(bus)} == {"a", "b", "c"}

    async def test_a_retry_keeps_the_order_and_counts(self, bus: Bus) -> None:
        first, second = await publish(bus, 2)
        await bus.settle([Settlement(delivery=await take_one(bus), retry_after_s=0.05)])
        again = await take_one(bus)
        assert (again.envelope.id, again.attempt) == (first, 2)
        await bus.settle([done(again)])
        assert (await take_one(bus)).envelope.id == second

    async def test_a_retry_waits_its_time(self, bus: Bus) -> None:
        await publish(bus)
        loop = asyncio.get_running_loop()
        delivery = await take_one(bus)
        start = loop.time()
        await bus.settle([Settlement(delivery=delivery, retry_after_s=0.3)])
        await take_one(bus)
        assert loop.time() - start >= 0.29

    async def test_a_released_delivery_comes_at_once_and_is_not_counted(self, bus: Bus) -> None:
        await publish(bus, 2)
        first = await take_one(bus)
        assert (await bus.settle([Settlement(delivery=first, release=True)]))[0].counted
        again = await take_one(bus)
        assert (again.envelope.id, again.attempt) == (first.envelope.id, 1)

    async def test_a_released_lane_is_the_next_of_its_org(self, bus: Bus) -> None:
        for lane in ("a", "b"):
            await publish(bus, lane=lane)
        await bus.settle([Settlement(delivery=await take_one(bus), release=True)])
        assert (await take_one(bus)).envelope.lane == "a"

    async def test_one_receive_takes_at_most_its_room(self, bus: Bus) -> None:
        for lane in "abcdef":
            await publish(bus, lane=lane)
        assert len(await take(bus, room=4)) == 4

    async def test_take_next_goes_on_with_the_lane_under_the_same_lease(self, bus: Bus) -> None:
        ids = await publish(bus, 3)
        first = await take_one(bus)
        [settled] = await bus.settle([done(first, take_next=True)])
        assert settled.next is not None
        assert (settled.next.envelope.id, settled.next.fence, settled.next.attempt) == (ids[1], first.fence, 1)

    async def test_new_work_wakes_an_idle_worker(self, ports: Ports) -> None:
        another = ports.another()
        receiving = asyncio.create_task(take(another, worker="idle"))
        await asyncio.sleep(0)
        await publish(ports.bus)
        assert len(await receiving) == 1

    async def test_only_products_that_were_asked_for_are_delivered(self, bus: Bus) -> None:
        await publish(bus, product="other")
        assert await nothing_is_due(bus)
        assert len(await take(bus, bounds=(ProductBounds("other", 1, 1),))) == 1

    async def test_large_results_are_settled_whole(self, bus: Bus, results: ResultStore) -> None:
        for lane in range(12):
            await publish(bus, lane=str(lane), body=b"x" * 1_000_000)
        deliveries: list[Delivery] = []
        while len(deliveries) < 12:
            deliveries += await take(bus)
        large = [result(d, body=bytes([n]) * 1_000_000) for n, d in enumerate(deliveries)]
        settled = await bus.settle([Settlement(delivery=d, result=r) for d, r in zip(deliveries, large, strict=True)])
        assert all(s.counted for s in settled)
        assert [await results.get(r.id) for r in large] == large

    async def test_products_of_others_do_not_slow_this_workers(self, bus: Bus) -> None:
        for lane in range(10):
            await publish(bus, product="other", lane=str(lane))
            await publish(bus, lane=str(lane))
        assert len(await bus.receive("w", BOUNDS, 100)) == 10


class TestFairness:
    async def test_an_org_with_many_waiting_delays_another_by_less_than_two_turns(self, bus: Bus) -> None:
        await asyncio.gather(*(bus.publish(envelope(org="noisy", lane=str(i))) for i in range(500)))
        await publish(bus, 500, org="noisy", lane="long")
        await take_one(bus)
        await publish(bus, org="quiet")
        assert "quiet" in {(await take_one(bus)).envelope.org for _ in range(2)}

    async def test_orgs_take_turns(self, bus: Bus) -> None:
        for org in ("a", "b", "c"):
            for lane in range(3):
                await publish(bus, org=org, lane=str(lane))
        order = [(await take_one(bus)).envelope.org for _ in range(9)]
        assert [set(order[i : i + 3]) for i in (0, 3, 6)] == [{"a", "b", "c"}] * 3

    async def test_a_long_lane_gives_way_after_a_quantum(self, bus: Bus) -> None:
        await publish(bus, 50, org="noisy")
        delivery: Delivery | None = await take_one(bus)
        await publish(bus, org="quiet")
        in_a_row = 0
        while delivery is not None:
            in_a_row += 1
            [settled] = await bus.settle([done(delivery, take_next=True)])
            delivery = settled.next
        assert in_a_row <= 8
        assert (await take_one(bus)).envelope.org == "quiet"

    async def test_a_lane_alone_goes_on_for_ever(self, bus: Bus) -> None:
        await publish(bus, 50)
        delivery: Delivery | None = await take_one(bus)
        in_a_row = 0
        while delivery is not None:
            in_a_row += 1
            [settled] = await bus.settle([done(delivery, take_next=True)])
            delivery = settled.next
        assert in_a_row == 50


class TestBounds:
    async def test_a_products_concurrency_holds_over_all_workers(self, ports: Ports) -> None:
        bounds = (ProductBounds("orders", 5, 100),)
        for lane in range(20):
            await publish(ports.bus, lane=str(lane))
        other = ports.another()
        taken = await take(ports.bus, room=3, bounds=bounds) + await take(other, bounds=bounds)
        assert len(taken) == 5
        assert await nothing_is_due(other, bounds)
        await ports.bus.settle([done(taken[0]), done(taken[1])])
        assert len(await take(other, bounds=bounds)) == 2

    async def test_an_orgs_concurrency_holds_and_others_go_on(self, bus: Bus) -> None:
        bounds = (ProductBounds("orders", 100, 2),)
        for org in ("a", "b"):
            for lane in range(5):
                await publish(bus, org=org, lane=str(lane))
        taken = await take(bus, bounds=bounds)
        assert Counter(d.envelope.org for d in taken) == {"a": 2, "b": 2}
        await bus.settle([done(next(d for d in taken if d.envelope.org == "a"))])
        assert [d.envelope.org for d in await take(bus, bounds=bounds)] == ["a"]

    async def test_what_is_over_the_backlog_is_refused(self, bus: Bus) -> None:
        await publish(bus, 3, backlog=3)
        assert (await bus.publish(envelope(backlog=3))).outcome == "backlog"
        assert (await bus.publish(envelope(backlog=3, org="other"))).outcome == "accepted"
        await take_one(bus)
        assert (await bus.publish(envelope(backlog=3))).outcome == "accepted"

    async def test_depth_counts_waiting_and_running(self, bus: Bus) -> None:
        await publish(bus, 3)
        await publish(bus, 1, org="other")
        delivery = await take_one(bus)
        assert await bus.depth() == {("orders", "acme"): 3, ("orders", "other"): 1}
        await bus.settle([done(delivery)])
        assert sum((await bus.depth()).values()) == 3

    async def test_an_empty_bus_has_no_depth(self, bus: Bus) -> None:
        await publish(bus, 3)
        await work_off(bus)
        assert await bus.depth() == {}


class TestLeases:
    async def test_a_lease_that_is_not_renewed_passes_on_and_counts(self, bus: Bus) -> None:
        [request_id] = await publish(bus)
        first = await take_one(bus)
        second = await take_one(bus)
        assert (second.envelope.id, second.attempt, second.crashes) == (request_id, 2, 1)
        assert second.fence > first.fence

    async def test_a_retry_is_no_crash(self, bus: Bus) -> None:
        await publish(bus)
        await bus.settle([Settlement(delivery=await take_one(bus), retry_after_s=0)])
        second = await take_one(bus)
        assert (second.attempt, second.crashes) == (2, 0)
        third = await take_one(bus)
        assert (third.attempt, third.crashes) == (3, 1)

    async def test_the_next_request_starts_without_the_crashes_of_the_last(self, bus: Bus) -> None:
        await publish(bus, 2)
        await take_one(bus)
        [settled] = await bus.settle([done(await take_one(bus), take_next=True)])
        assert settled.next is not None
        assert (settled.next.attempt, settled.next.crashes) == (1, 0)

    async def test_a_stale_worker_is_refused(self, bus: Bus, results: ResultStore) -> None:
        await publish(bus)
        first = await take_one(bus)
        second = await take_one(bus)
        [stale] = await bus.settle([Settlement(delivery=first, result=result(first, body=b"stale"))])
        assert not stale.counted
        assert isinstance(await results.get(first.envelope.id), Progress)
        assert (await bus.settle([done(second)]))[0].counted

    async def test_a_stale_worker_can_neither_retry_nor_release(self, bus: Bus) -> None:
        await publish(bus)
        first = await take_one(bus)
        await take_one(bus)
        stale = [Settlement(delivery=first, retry_after_s=0), Settlement(delivery=first, release=True)]
        assert not any(s.counted for s in await bus.settle(stale))
        assert await nothing_is_due(bus)

    async def test_a_worker_is_stale_as_soon_as_its_lane_has_passed_on(self, bus: Bus) -> None:
        await publish(bus)
        first = await take_one(bus)

        loop = asyncio.get_running_loop()
        end = loop.time() + LEASE_S * 2
        while loop.time() < end:
            await bus.receive("other", (ProductBounds("other", 1, 1),), 1)
        assert not (await bus.settle([done(first)]))[0].counted
        assert (await take_one(bus)).attempt == 2

    async def test_a_lease_that_is_renewed_stays(self, bus: Bus) -> None:
        await publish(bus)
        delivery = await take_one(bus)
        loop = asyncio.get_running_loop()
        end = loop.time() + LEASE_S * 2
        while loop.time() < end:
            assert await bus.extend([delivery]) == [True]
            assert await nothing_is_due(bus)

    async def test_extend_tells_what_was_lost(self, bus: Bus) -> None:
        await publish(bus)
        first = await take_one(bus)
        second = await take_one(bus)
        assert await bus.extend([first, second]) == [False, True]

    async def test_a_settlement_may_be_repeated(self, bus: Bus) -> None:
        await publish(bus, 2)
        delivery = await take_one(bus)
        once = await bus.settle([done(delivery, take_next=True)])
        again = await bus.settle([done(delivery, take_next=True)])
        assert once == again
        assert once[0].next is not None

    async def test_a_settlement_after_a_cancellation_may_be_repeated(self, bus: Bus, results: ResultStore) -> None:
        await publish(bus, 2)
        delivery = await take_one(bus)
        await results.put_if_absent(result(delivery, "cancelled"))
        once = await bus.settle([done(delivery, take_next=True)])
        assert await bus.settle([done(delivery, take_next=True)]) == once
        assert not once[0].counted
        assert once[0].next is not None

    async def test_a_retry_may_be_repeated(self, bus: Bus) -> None:
        await publish(bus)
        delivery = await take_one(bus)
        retry = Settlement(delivery=delivery, retry_after_s=0.1)
        assert [s.counted for s in await bus.settle([retry, retry])] == [True, True]
        assert (await take_one(bus)).attempt == 2

    async def test_a_repeated_result_is_not_overwritten(self, bus: Bus, results: ResultStore) -> None:
        await publish(bus)
        delivery = await take_one(bus)
        await bus.settle([done(delivery)])
        await bus.settle([Settlement(delivery=delivery, result=result(delivery, "failed"))])
        stored = await results.get(delivery.envelope.id)
        assert stored is not None
        assert stored.state == "succeeded"


class TestIdempotency:
    async def test_the_same_request_is_accepted_once(self, bus: Bus) -> None:
        first = envelope(idempotency="n1", fingerprint="f")
        assert (await bus.publish(first)).outcome == "accepted"
        again = await bus.publish(envelope(idempotency="n1", fingerprint="f"))
        assert (again.outcome, again.id) == ("duplicate", first.id)

    async def test_another_request_under_the_same_key_conflicts(self, bus: Bus) -> None:
        first = envelope(idempotency="n1", fingerprint="f")
        await bus.publish(first)
        other = await bus.publish(envelope(idempotency="n1", fingerprint="g"))
        assert (other.outcome, other.id) == ("conflict", first.id)

    async def test_one_of_64_racing_requests_is_accepted(self, ports: Ports) -> None:
        buses = [ports.another() for _ in range(4)]
        racing = (buses[i % 4].publish(envelope(idempotency="n1", fingerprint="f")) for i in range(64))
        published = await asyncio.gather(*racing)
        assert Counter(p.outcome for p in published) == {"accepted": 1, "duplicate": 63}
        assert len({p.id for p in published}) == 1
        assert len(await work_off(ports.bus)) == 1

    async def test_a_refused_request_leaves_its_key_free(self, bus: Bus) -> None:
        await publish(bus, 1, backlog=1)
        assert (await bus.publish(envelope(backlog=1, idempotency="n1"))).outcome == "backlog"
        await take_one(bus)
        assert (await bus.publish(envelope(backlog=1, idempotency="n1"))).outcome == "accepted"

    async def test_a_key_is_forgotten_after_its_time(self, bus: Bus) -> None:
        await bus.publish(envelope(idempotency="n1", idempotency_ttl_s=1))

        async def accepted() -> bool:
            return (await bus.publish(envelope(idempotency="n1", idempotency_ttl_s=1))).outcome == "accepted"

        assert not await accepted()
        await until(accepted)


class TestCancellation:
    async def test_a_request_cancelled_while_it_waits_is_never_delivered(self, bus: Bus, results: ResultStore) -> None:
        cancelled, other = envelope(), envelope()
        await bus.publish(cancelled)
        await bus.publish(other)
        await results.put_if_absent(result(cancelled, "cancelled"))
        assert await work_off(bus) == [other.id]

    async def test_a_lane_of_cancelled_requests_ends(self, bus: Bus, results: ResultStore) -> None:
        requests = [envelope() for _ in range(700)]
        await asyncio.gather(*(bus.publish(e) for e in requests))
        await asyncio.gather(*(results.put_if_absent(result(e, "cancelled")) for e in requests))
        assert await work_off(bus) == []
        assert await bus.depth() == {}

    async def test_the_lane_goes_on_after_a_running_request_was_cancelled(self, bus: Bus, results: ResultStore) -> None:
        _, second = await publish(bus, 2)
        delivery = await take_one(bus)
        await results.put_if_absent(result(delivery, "cancelled"))
        assert await bus.extend([delivery]) == [False]
        assert not (await bus.settle([Settlement(delivery=delivery, release=True)]))[0].counted
        assert (await take_one(bus)).envelope.id == second

    async def test_a_worker_hears_of_a_cancellation(self, ports: Ports) -> None:
        await publish(ports.bus)
        delivery = await take_one(ports.bus)
        heard = ports.bus.cancellations()
        listening = asyncio.ensure_future(anext(heard))
        async with asyncio.timeout(5):
            while not listening.done():
                await ports.results.put_if_absent(result(delivery, "cancelled"))
                await asyncio.wait([listening], timeout=0.05)
                if not listening.done():
                    await ports.bus.settle([Settlement(delivery=delivery, release=True)])
                    await publish(ports.bus)
                    delivery = await take_one(ports.bus)
        assert listening.result() == delivery.envelope.id
        await heard.aclose()  # type: ignore[attr-defined]

    async def test_a_cancellation_and_a_result_never_both_count(self, bus: Bus, results: ResultStore) -> None:
        for lane in range(30):
            await publish(bus, lane=str(lane))
        for delivery in await take(bus):
            standing, [settled] = await asyncio.gather(
                results.put_if_absent(result(delivery, "cancelled")), bus.settle([done(delivery)])
            )
            assert settled.counted == (standing.state == "succeeded")


class TestDeadLetters:
    async def give_up(
        self, bus: Bus, reason: str = "attempts-exhausted", product: str = "orders", org: str = "acme", at_ms: int = 5
    ) -> str:
        [request_id] = await publish(bus, product=product, org=org)
        bounds = (ProductBounds(product, 9, 9),)
        [delivery] = await take(bus, bounds=bounds)
        why = Problem(code=reason, detail="503 five times")
        ended = result(delivery, attempts=delivery.attempt, finished_ms=at_ms)
        await bus.settle([Settlement(delivery=delivery, result=ended, dead_letter=why)])
        return request_id

    async def test_a_dead_letter_holds_the_request_and_the_reason(self, bus: Bus) -> None:
        request_id = await self.give_up(bus)
        [letter] = await bus.dead_letters()
        assert letter.envelope.id == request_id
        assert (letter.reason, letter.detail, letter.attempts) == ("attempts-exhausted", "503 five times", 1)

    async def test_the_lane_goes_on(self, bus: Bus) -> None:
        await self.give_up(bus)
        [request_id] = await publish(bus)
        assert (await take_one(bus)).envelope.id == request_id

    async def test_dead_letters_are_listed_by_product_newest_first(self, bus: Bus) -> None:
        ids = [await self.give_up(bus, at_ms=at_ms) for at_ms in range(3)]
        await self.give_up(bus, product="other")
        assert [letter.envelope.id for letter in await bus.dead_letters("orders", 2)] == ids[:0:-1]
        assert len(await bus.dead_letters()) == 4

    @pytest.mark.parametrize("product", ["orders", "apx-webhooks"])
    async def test_dead_letters_of_one_org_are_listed_newest_first_and_forgotten_alone(
        self, bus: Bus, product: str
    ) -> None:
        ids = []
        for at_ms in range(3):
            ids.append(await self.give_up(bus, product=product, org="wh_1", at_ms=at_ms))
            await self.give_up(bus, product=product, org="wh_2")
        await self.give_up(bus, product="other", org="wh_1")
        found = await bus.dead_letters(product, 10, org="wh_1")
        assert [letter.envelope.id for letter in found] == ids[::-1]
        assert [letter.id for letter in await bus.dead_letters(product, 2, org="wh_1")] == [one.id for one in found[:2]]
        assert await bus.dead_letters(product, 10, org="wh_3") == []
        assert len(await bus.dead_letters(product)) == 6
        assert all([await bus.forget_dead_letter(letter.id) for letter in found])
        assert {letter.envelope.org for letter in await bus.dead_letters(product)} == {"wh_2"}

    async def test_a_dead_letter_is_forgotten_once(self, bus: Bus) -> None:
        await self.give_up(bus)
        [letter] = await bus.dead_letters()
        assert await bus.forget_dead_letter(letter.id)
        assert not await bus.forget_dead_letter(letter.id)
        assert await bus.dead_letters() == []

    async def test_a_repeated_settlement_leaves_one_dead_letter(self, bus: Bus) -> None:
        await publish(bus)
        settlement = done(await take_one(bus), dead_letter=Problem(code="poison", detail=""))
        await bus.settle([settlement])
        await bus.settle([settlement])
        assert len(await bus.dead_letters()) == 1
