"""What the journal is there for: lanes that are lost, stores that are away, and what it costs."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from valkey.asyncio import Valkey

from apx.backends.gcp import emulators, pubsub
from apx.backends.gcp.bus import JournaledBus
from apx.backends.gcp.journal import MOST_ENTRY_BYTES, Entry, Journal
from apx.backends.gcp.recovery import Holder
from apx.backends.valkey.bus import ValkeyBus
from apx.clock import ManualClock
from apx.errors import Misconfigured, Unavailable, Unsupported
from apx.requests.model import Envelope, Problem, Progress, Result
from apx.requests.ports import ProductBounds, Published, Settlement
from apx.usage import per_request as per

from .conftest import Google, Server, connected, on_google, until
from .requests_examples import BOUNDS, done, envelope, result, take, take_one

pytestmark = pytest.mark.usefixtures("firestore_emulator", "pubsub_emulator")


@pytest.fixture
async def google(valkey: Valkey) -> AsyncIterator[Google]:
    async with on_google(valkey) as opened:
        yield opened


@pytest.fixture
def bus(google: Google) -> JournaledBus:
    return google.another()


async def unfinished(google: Google) -> list[str]:
    """Read the journal to its end, and leave it as it was."""
    entries = await google.journal.read("orders")
    await google.journal.postpone("orders", entries, 0)
    return [entry.envelope.id for entry in entries]


class TestLostLanes:
    async def test_what_was_accepted_is_dealt_out_again_in_its_order(self, bus: JournaledBus, valkey: Valkey) -> None:
        sent = [envelope(lane=lane) for lane in "ab" for _ in range(10)]
        for one in sent:
            await bus.publish(one)
        await valkey.flushall()
        came: list[tuple[str, str]] = []
        while len(came) < len(sent):
            delivery = await take_one(bus)
            came.append((delivery.envelope.lane, delivery.envelope.id))
            await bus.settle([done(delivery)])
        for lane in "ab":
            assert [id_ for of, id_ in came if of == lane] == [one.id for one in sent if one.lane == lane]

    async def test_what_has_a_result_is_not_dealt_out_again(
        self, google: Google, bus: JournaledBus, valkey: Valkey
    ) -> None:
        first, second = envelope(), envelope()
        for one in (first, second):
            await bus.publish(one)
        await bus.settle([done(await take_one(bus))])
        await valkey.flushall()
        assert (await take_one(bus)).envelope.id == second.id
        assert isinstance(await google.results.get(first.id), Result)

    async def test_what_ran_when_the_lanes_were_lost_has_one_result(
        self, google: Google, bus: JournaledBus, valkey: Valkey
    ) -> None:
        await bus.publish(envelope())
        before = await take_one(bus)
        await valkey.flushall()
        after = await take_one(bus)
        settled = await bus.settle([Settlement(delivery=after, result=result(after, body=b"second"))])
        late = await bus.settle([Settlement(delivery=before, result=result(before, body=b"first"))])
        assert (settled[0].counted, late[0].counted) == (True, False)
        found = await google.results.get(before.envelope.id)
        assert isinstance(found, Result)
        assert found.body == b"second"

    async def test_what_is_new_comes_behind_what_was_lost(
        self, google: Google, bus: JournaledBus, valkey: Valkey
    ) -> None:
        sent = [envelope() for _ in range(3)]
        for one in sent:
            await bus.publish(one)
        first = await take_one(bus)
        await valkey.flushall()

        async def dealt() -> bool:
            await bus.receive("w", (ProductBounds("other", 1, 1),), 1)
            return (await google.lanes.depth()).get(("orders", "acme"), 0) == len(sent)

        await until(dealt)
        sent.append(envelope())
        await bus.publish(sent[-1])
        assert first.envelope == sent[0]
        assert await work_off(bus, len(sent)) == [one.id for one in sent]

    async def test_nothing_is_dealt_past_the_journal_while_the_lanes_are_new(self, valkey: Valkey) -> None:
        async with on_google(valkey, recovery_s=60) as google:
            bus, sent = google.another(), [envelope() for _ in range(5)]
            for one in sent:
                await bus.publish(one)
            assert await google.lanes.depth() == {}
            assert await google.results.get(sent[0].id) == Progress(state="accepted")
            assert await work_off(bus, len(sent)) == [one.id for one in sent]


async def work_off(bus: JournaledBus, count: int) -> list[str]:
    order: list[str] = []
    while len(order) < count:
        delivery = await take_one(bus)
        order.append(delivery.envelope.id)
        await bus.settle([done(delivery)])
    return order


class TestLanesAway:
    async def test_a_request_is_accepted_and_dealt_out_when_they_are_back(self, own_server: Server) -> None:
        async with connected(own_server) as client, on_google(client) as google:
            bus = google.another()
            own_server.kill()
            sent = envelope()
            assert (await bus.publish(sent)).outcome == "accepted"
            own_server.start()
            assert (await take_one(bus)).envelope == sent

    async def test_a_result_is_read_from_where_it_is_kept(self, own_server: Server) -> None:
        async with connected(own_server) as client, on_google(client) as google:
            known = await google.results.put_if_absent(result(envelope()))
            own_server.signal(signal.SIGSTOP)
            try:
                assert await google.results.get(known.id) == known
                with pytest.raises(Unavailable):
                    await google.results.get("req_unknown")
            finally:
                own_server.signal(signal.SIGCONT)

    async def test_a_cancellation_stands_though_they_do_not_hear_of_it(self, own_server: Server) -> None:
        async with connected(own_server) as client, on_google(client) as google:
            bus = google.another()
            await bus.publish(envelope())
            delivery = await take_one(bus)
            own_server.signal(signal.SIGSTOP)
            try:
                cancelled = await google.results.put_if_absent(result(delivery, "cancelled"))
            finally:
                own_server.signal(signal.SIGCONT)
            assert not (await bus.settle([done(delivery)]))[0].counted
            assert await google.results.get(delivery.envelope.id) == cancelled


class TestJournal:
    async def test_an_entry_stays_until_its_request_has_a_result(self, google: Google, bus: JournaledBus) -> None:
        sent = envelope()
        await bus.publish(sent)
        holder = Holder("orders", google.lanes, google.journal, google.documents, google.usage)
        holder.hold(await google.journal.read("orders"))
        await holder.look()
        await holder.aclose()
        assert await unfinished(google) == [sent.id]
        [delivery] = await google.lanes.receive("w", BOUNDS, 1)
        await bus.settle([done(delivery)])
        holder.hold(await google.journal.read("orders"))
        await holder.look()
        late = envelope()
        await bus.publish(late)
        assert await unfinished(google) == [late.id]

    async def test_a_cancelled_request_is_not_dealt_out_again(
        self, google: Google, bus: JournaledBus, valkey: Valkey
    ) -> None:
        sent = envelope()
        await bus.publish(sent)
        await google.results.put_if_absent(result(sent, "cancelled"))
        await valkey.flushall()
        holder = Holder("orders", google.lanes, google.journal, google.documents, google.usage)
        holder.hold(await google.journal.read("orders"))
        await holder.look()
        assert await google.lanes.depth() == {}

    async def test_what_a_process_holds_comes_to_others_when_it_stops(self, google: Google, bus: JournaledBus) -> None:
        await bus.publish(envelope())
        holder = Holder("orders", google.lanes, google.journal, google.documents, google.usage)
        holder.start(0.05)

        async def held() -> bool:
            return holder.holding == 1

        await until(held, within_s=20)
        await holder.aclose()
        assert len(await unfinished(google)) == 1

    async def test_who_repeats_a_request_makes_sure_that_it_is_kept(self, google: Google, bus: JournaledBus) -> None:
        first = envelope(idempotency="n1", fingerprint="f")
        await google.documents.record("n1", first.id, "f", 60)  # and then its router was killed
        again = await bus.publish(envelope(idempotency="n1", fingerprint="f"))
        assert (again.outcome, again.id) == ("duplicate", first.id)
        assert await unfinished(google) == [first.id]
        assert (await take_one(bus)).envelope.id == first.id

    @pytest.mark.parametrize(
        ("age_s", "ended", "kept"),
        [
            pytest.param(600, False, True, id="as long as it may still run"),
            pytest.param(600, True, False, id="not one that has its result"),
            pytest.param(3601, False, False, id="not one whose time is over"),
        ],
    )
    async def test_who_repeats_it_late_does_too(
        self, google: Google, monkeypatch: pytest.MonkeyPatch, *, age_s: float, ended: bool, kept: bool
    ) -> None:
        first, again, other = (
            envelope(idempotency=name, fingerprint="f", accepted_ms=0, deadline_ms=3_600_000)
            for name in ("n1", "n1", "n2")
        )
        with monkeypatch.context() as earlier:
            earlier.setattr(google.documents, "_clock", ManualClock(time.time() - age_s))
            await google.documents.record("n1", first.id, "f", 86_400)
        if ended:
            await google.documents.conclude(result(first))
        bus = google.another()
        assert await bus.publish(again) == Published("duplicate", first.id)
        await bus.publish(other)
        assert await unfinished(google) == [first.id] * kept + [other.id]

    async def test_a_topic_that_nobody_made_is_a_mistake_of_the_installation(self, google: Google) -> None:
        with pytest.raises(Misconfigured, match="apx-here-requests-nothing is not there: deploy the stack `messaging`"):
            await google.journal.write(envelope(product="nothing"))
        with pytest.raises(Misconfigured, match="apx-here-requests-nothing"):
            await google.journal.read("nothing")

    async def test_what_pubsub_cannot_take_is_refused_by_name(self, google: Google) -> None:
        with pytest.raises(Unsupported, match="over the journal's"):
            await google.journal.write(envelope(body=b"x" * (MOST_ENTRY_BYTES + 1)))

    async def test_nothing_is_accepted_without_the_journal(
        self, google: Google, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(emulators.PUBSUB, "127.0.0.1:1")
        async with pubsub.connect("here") as nobody:
            journal = Journal(nobody, google.project, "here")
            lost = JournaledBus(google.lanes, journal, google.documents, google.results, google.usage)
            began = time.monotonic()
            with pytest.raises(Unavailable, match="writing to the journal of orders"):
                await lost.publish(envelope())
            assert time.monotonic() - began < 8

    async def test_a_lane_keeps_its_order_among_racing_publishes(self, google: Google) -> None:
        sent = [envelope() for _ in range(50)]
        await asyncio.gather(*(google.journal.write(one) for one in sent))
        assert await unfinished(google) == [one.id for one in sent]


class TestCost:
    """A document written is the largest part of what a request costs."""

    async def test_a_request_writes_one_document(self, google: Google, bus: JournaledBus) -> None:
        await asyncio.gather(*(bus.publish(envelope(lane=str(n))) for n in range(20)))
        taken = await take(bus)
        await bus.settle([done(delivery) for delivery in taken])
        assert (len(taken), google.documents.written) == (20, 20 * per.DOCUMENTS_PER_RESULT)

    async def test_a_request_is_one_message_that_is_delivered_once(
        self, google: Google, bus: JournaledBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        published, delivered = list[str](), list[str]()
        write, read = google.journal.write, google.journal.read

        async def writing(one: Envelope) -> None:
            published.append(one.id)
            await write(one)

        async def reading(product: str) -> list[Entry]:
            entries = await read(product)
            delivered.extend(entry.envelope.id for entry in entries)
            return entries

        monkeypatch.setattr(google.journal, "write", writing)
        monkeypatch.setattr(google.journal, "read", reading)
        await asyncio.gather(*(bus.publish(envelope(lane=str(n))) for n in range(20)))
        await bus.settle([done(delivery) for delivery in await take(bus)])

        async def all_read() -> bool:
            await bus.receive("w", BOUNDS, 1)
            return set(delivered) == set(published)

        await until(all_read, within_s=10)
        assert len(published) == 20 * per.MESSAGES_PER_REQUEST
        assert len(delivered) == len(published) * per.DELIVERIES_PER_MESSAGE

    async def test_one_with_an_idempotency_key_writes_two(self, google: Google, bus: JournaledBus) -> None:
        await bus.publish(envelope(idempotency="n1", fingerprint="f"))
        await bus.settle([done(await take_one(bus))])
        assert google.documents.written == per.DOCUMENTS_PER_RESULT + per.DOCUMENTS_PER_IDEMPOTENCY_KEY

    async def test_polling_a_request_reads_no_document_while_the_lanes_know_it(
        self, google: Google, bus: JournaledBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = list[str]()

        async def reading(request_id: str) -> None:
            read.append(request_id)

        await bus.publish(envelope())
        delivery = await take_one(bus)
        monkeypatch.setattr(google.documents, "result", reading)
        waiting = envelope()
        await bus.publish(waiting)
        assert await google.results.get(waiting.id) == Progress(state="accepted")
        assert isinstance(await google.results.get(delivery.envelope.id), Progress)
        await bus.settle([done(delivery)])
        assert isinstance(await google.results.get(delivery.envelope.id), Result)
        assert len(read) == 3 * per.READS_PER_POLL

    async def test_a_dead_letter_writes_one_more(self, google: Google, bus: JournaledBus) -> None:
        await bus.publish(envelope())
        await bus.settle([done(await take_one(bus), dead_letter=Problem(code="poison", detail=""))])
        assert google.documents.written == per.DOCUMENTS_PER_RESULT + per.DOCUMENTS_PER_DEAD_LETTER


async def test_lanes_that_may_be_lost_do_not_wait_for_the_disk(everysec: Valkey) -> None:
    bus = ValkeyBus(everysec, journaled=True)
    before = (await everysec.info("commandstats")).get("cmdstat_waitaof")
    await bus.publish(envelope())
    assert before is None
    assert "cmdstat_waitaof" not in await everysec.info("commandstats")
    await bus.aclose()


@pytest.fixture
async def everysec(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Valkey]:
    server = Server(tmp_path_factory.mktemp("v", numbered=True), appendfsync="everysec")
    server.start()
    try:
        async with connected(server) as client:
            yield client
    finally:
        server.kill()


async def test_the_journal_empties_by_itself(
    google: Google, bus: JournaledBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: set[str] = set()
    close = google.journal.close

    async def counted(product: str, entries: Sequence[Entry]) -> None:
        await close(product, entries)
        closed.update(entry.envelope.id for entry in entries)

    monkeypatch.setattr(google.journal, "close", counted)
    sent = [envelope() for _ in range(5)]
    for one in sent:
        await bus.publish(one)
        await bus.settle([done(await take_one(bus))])

    async def empty() -> bool:
        await bus.receive("w", BOUNDS, 1)
        return closed == {one.id for one in sent}

    await until(empty, within_s=20)
