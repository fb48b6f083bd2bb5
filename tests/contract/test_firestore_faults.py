"""What the Firestore adapters write, and what they do when the service is gone or silent, or a listener deaf."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

import pytest
from google.api_core.exceptions import PermissionDenied, ServiceUnavailable
from google.cloud.firestore import AsyncClient
from google.cloud.firestore_v1.base_document import DocumentSnapshot
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.types import ListenResponse

from apx.backends.gcp.emulators import FIRESTORE
from apx.backends.gcp.keys import FirestoreKeys
from apx.backends.gcp.orgs import FirestoreOrgs
from apx.backends.gcp.rollouts import FirestoreRollouts
from apx.errors import Conflict, Misconfigured, Unavailable
from apx.rollout.active import Active
from tests.contract.conftest import firestore_client, until
from tests.contract.test_keys import record
from tests.contract.test_orgs import state
from tests.contract.test_rollouts import active, changes, end_of, entry, next_of


class Wire:
    """The way to the emulator: it can be cut, be gone, or carry nothing."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.partition(":")
        self._to_port, self._port = int(port), 0
        self._carries = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def mend(self) -> None:
        self._carries.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        for end in self._open:
            end.transport.abort()

    def take_away(self) -> None:
        assert self._server is not None
        self._server.close()
        self._server = None
        self.cut()

    def silence(self) -> None:
        self._carries.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection(self._host, self._to_port)
        ends = {writer, back}
        self._open |= ends
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(onward, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                await self._carries.wait()
                to.write(data)
                await to.drain()
        to.transport.abort()


@pytest.fixture
async def direct(request: pytest.FixtureRequest) -> AsyncIterator[AsyncClient]:
    """Another process, whose way is never broken."""
    request.getfixturevalue("firestore_emulator")
    async with firestore_client() as client:
        yield client


@pytest.fixture
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    request.getfixturevalue("firestore_emulator")
    wire = Wire(os.environ[FIRESTORE])
    await wire.mend()
    yield wire
    await wire.mend()
    wire.take_away()


@pytest.fixture
async def client(wire: Wire, direct: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncClient]:
    """A process that is connected by the wire."""
    monkeypatch.setenv(FIRESTORE, wire.address)
    async with firestore_client(direct.project) as client:
        yield client


@pytest.fixture
def no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody listen, while all other calls are answered."""

    async def refused(*_: Any, **__: Any) -> None:
        raise ServiceUnavailable("no listening today")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(FirestoreAsyncClient, "listen", refused)


@pytest.fixture
def deaf_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let listeners begin, and never hear of a document."""
    listen = FirestoreAsyncClient.listen

    class Deaf:
        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self.cancel = stream.cancel

        async def __aiter__(self) -> AsyncIterator[ListenResponse]:
            async for response in self._stream:
                if not response.document_change.document.name:
                    yield response

    async def deaf(*given: Any, **named: Any) -> Deaf:
        return Deaf(await listen(*given, **named))

    monkeypatch.setattr(FirestoreAsyncClient, "listen", deaf)


def seconds_since() -> Callable[[], float]:
    began = time.monotonic()
    return lambda: time.monotonic() - began


async def documents(client: AsyncClient) -> list[DocumentSnapshot[Any]]:
    return [one async for collection in client.collections() async for one in collection.stream()]


async def said(feed: AsyncIterator[str], within_s: float) -> str:
    async with asyncio.timeout(within_s):
        return await anext(feed)


async def ended(feed: AsyncIterator[str], within_s: float) -> list[str]:
    """Return what a feed of keys still says before it ends with `Unavailable`."""
    heard: list[str] = []

    async def hear() -> None:
        async with asyncio.timeout(within_s):
            async for one in feed:
                heard.append(one)  # noqa: PERF401 -- what came before the error counts

    with pytest.raises(Unavailable):
        await hear()
    return heard


def calls(client: AsyncClient) -> list[Awaitable[object]]:
    keys, rollouts = FirestoreKeys(client), FirestoreRollouts(client)
    return [
        keys.find(record().sha256),
        keys.put(record()),
        keys.revoke("key_1"),
        keys.list_keys(),
        rollouts.read(),
        rollouts.change(active(), entry()),
        rollouts.history("orders"),
        rollouts.now_ms(),
    ]


async def test_a_store_that_is_gone_is_unavailable_within_three_seconds(client: AsyncClient, wire: Wire) -> None:
    wire.take_away()
    took = seconds_since()
    answers = await asyncio.gather(*calls(client), return_exceptions=True)
    assert [type(one) for one in answers] == [Unavailable] * 8
    assert took() < 3


async def test_what_is_no_hash_is_not_asked_for(client: AsyncClient, wire: Wire) -> None:
    wire.take_away()
    for digest in ("", "*", "\n", "0" * 63, "../" + "0" * 61):
        assert await FirestoreKeys(client).find(digest) is None


async def test_a_store_that_is_silent_is_unavailable_within_seven_seconds(client: AsyncClient, wire: Wire) -> None:
    await FirestoreRollouts(client).read()
    wire.silence()
    took = seconds_since()
    answers = await asyncio.gather(*calls(client), return_exceptions=True)
    assert [type(one) for one in answers] == [Unavailable] * 8
    assert took() < 7


async def test_a_store_that_is_back_is_found_within_three_seconds(client: AsyncClient, wire: Wire) -> None:
    rollouts = FirestoreRollouts(client)
    await rollouts.read()
    wire.take_away()
    away = seconds_since()
    while away() < 11:  # long enough for gRPC to wait ever longer between its attempts
        with pytest.raises(Unavailable):
            await rollouts.read()
    await wire.mend()
    back = seconds_since()
    while True:
        with suppress(Unavailable):
            await rollouts.read()
            break
    assert back() < 3


async def test_a_change_writes_three_documents_at_once(direct: AsyncClient) -> None:
    rollouts = FirestoreRollouts(direct)
    for number in range(3):
        changed = await rollouts.change(active(number), entry())
        others = await rollouts.change(active(number, "exports"), entry("exports"))
    assert (changed.revision, others.revision) == (3, 3)
    kept = await documents(direct)
    newest = max(one.update_time for one in kept)
    written = [one.reference.path for one in kept if one.update_time == newest]
    assert sorted(written) == ["audit/000000000000006", "rollouts-meta/revision", "rollouts/exports"]
    assert len(kept) == 6 + 1 + 2


async def test_a_key_is_written_with_its_notice_at_once(direct: AsyncClient) -> None:
    await FirestoreKeys(direct).put(record())
    kept = await documents(direct)
    assert [one.reference.parent.id for one in kept] == ["key-changes", "keys"]
    assert len({one.update_time for one in kept}) == 1


async def test_firestore_holds_no_key_in_clear(direct: AsyncClient) -> None:
    await FirestoreKeys(direct).put(record())
    kept = [(one.reference.path, one.to_dict()) for one in await documents(direct)]
    assert record().sha256 in repr(kept)
    assert "secret 1" not in repr(kept)


async def test_processes_that_change_different_products_do_not_lose_a_change(
    client: AsyncClient, direct: AsyncClient
) -> None:
    async def change_often(of: AsyncClient, product: str) -> None:
        now = active(product=product)
        for _ in range(10):
            now = await FirestoreRollouts(of).change(now, entry(product))

    others = [change_often(direct, f"exports-{number}") for number in range(3)]
    await asyncio.gather(change_often(client, "orders"), *others)
    snapshot = await FirestoreRollouts(client).read()
    assert snapshot.revision == 40
    assert {one.revision for one in snapshot.products.values()} == {10}


async def test_of_two_processes_that_change_one_product_one_wins(client: AsyncClient, direct: AsyncClient) -> None:
    stores = [FirestoreRollouts(client), FirestoreRollouts(direct)] * 4
    tried = [store.change(active(), entry()) for store in stores]
    answers = await asyncio.gather(*tried, return_exceptions=True)
    assert sorted(type(one).__name__ for one in answers) == [Active.__name__] + [Conflict.__name__] * 7
    assert await stores[0].history("orders") == [entry()]


async def test_a_product_whose_name_begins_with_anothers_has_its_own_history(direct: AsyncClient) -> None:
    rollouts = FirestoreRollouts(direct)
    for product in ("orders", "orders-2", "orders0"):
        await rollouts.change(active(product=product), entry(product))
    for product in ("orders", "orders-2", "orders0"):
        assert [one.product for one in await rollouts.history(product)] == [product]


async def test_who_was_away_for_long_goes_on_with_the_oldest_that_is_kept(
    direct: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx.backends.gcp.rollouts.MOST_EVENTS", 3)
    rollouts = FirestoreRollouts(direct)
    for number in range(5):
        await rollouts.change(active(number), entry())
    async with aclosing(rollouts.events("1")) as feed:  # type: ignore[type-var]  # every feed is a generator
        assert [position for position, _ in await changes(feed, 3)] == ["3", "4", "5"]


async def test_events_of_more_than_a_page_come_once_each(direct: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.backends.gcp.rollouts._PAGE", 2)
    rollouts = FirestoreRollouts(direct)
    for number in range(5):
        await rollouts.change(active(number), entry())
    async with aclosing(rollouts.events("0")) as feed:  # type: ignore[type-var]
        assert [position for position, _ in await changes(feed, 5)] == ["1", "2", "3", "4", "5"]


async def test_a_change_is_pushed_in_under_half_a_second_from_another_process(
    client: AsyncClient, direct: AsyncClient
) -> None:
    async with aclosing(FirestoreRollouts(client).watch()) as feed:  # type: ignore[type-var]
        await next_of(feed)
        await next_of(feed)  # it listens
        hearing = asyncio.ensure_future(end_of_quiet(feed))
        await FirestoreRollouts(direct).change(active(), entry())
        took = seconds_since()
        assert await hearing == 1
        assert took() < 0.5


async def end_of_quiet(feed: AsyncIterator[Any]) -> int:
    while not (revision := (await next_of(feed)).revision):
        pass
    return int(revision)


async def test_a_change_is_seen_within_three_seconds_of_a_cut_wire(
    client: AsyncClient, direct: AsyncClient, wire: Wire
) -> None:
    async with aclosing(FirestoreRollouts(client).watch()) as feed:  # type: ignore[type-var]
        await next_of(feed)
        await next_of(feed)
        wire.cut()
        await FirestoreRollouts(direct).change(active(), entry())
        async with asyncio.timeout(3):
            assert await end_of_quiet(feed) == 1


@pytest.mark.usefixtures("no_listener")
async def test_feeds_whose_listener_is_broken_tell_of_changes_within_three_seconds(direct: AsyncClient) -> None:
    rollouts = FirestoreRollouts(direct)
    async with aclosing(rollouts.watch()) as watching, aclosing(rollouts.events("0")) as hearing:  # type: ignore[type-var]
        await next_of(watching)
        heard = asyncio.ensure_future(changes(hearing, 1))
        await rollouts.change(active(), entry())
        async with asyncio.timeout(3):
            assert await end_of_quiet(watching) == 1
            assert await heard == [("1", entry())]


@pytest.mark.usefixtures("deaf_listener")
async def test_a_change_that_the_listener_did_not_hear_of_is_found_within_three_seconds(direct: AsyncClient) -> None:
    rollouts = FirestoreRollouts(direct)
    async with aclosing(rollouts.watch()) as feed:  # type: ignore[type-var]
        await next_of(feed)
        await next_of(feed)
        await rollouts.change(active(), entry())
        async with asyncio.timeout(3):
            assert await end_of_quiet(feed) == 1


async def test_a_watch_and_events_end_with_unavailable_when_the_store_goes(client: AsyncClient, wire: Wire) -> None:
    rollouts = FirestoreRollouts(client)
    await rollouts.change(active(), entry())
    watching, hearing = rollouts.watch(), rollouts.events("0")
    await next_of(watching)
    await changes(hearing, 1)
    wire.take_away()
    for feed in (end_of(watching), changes(hearing, 1)):
        with pytest.raises(Unavailable):
            await feed


async def test_a_watch_and_events_of_a_silent_store_end_within_eight_seconds(client: AsyncClient, wire: Wire) -> None:
    rollouts = FirestoreRollouts(client)
    await rollouts.change(active(), entry())
    watching, hearing = rollouts.watch(), rollouts.events()
    await next_of(watching)
    ends = asyncio.ensure_future(anext(hearing))
    await next_of(watching)
    wire.silence()
    async with asyncio.timeout(8):
        answers = await asyncio.gather(end_of(watching), ends, return_exceptions=True)
    assert [type(one) for one in answers] == [Unavailable] * 2


async def test_a_store_that_was_put_back_ends_a_watch(direct: AsyncClient) -> None:
    rollouts = FirestoreRollouts(direct)
    await rollouts.change(await rollouts.change(active(), entry()), entry())
    feed = rollouts.watch()
    assert (await next_of(feed)).revision == 2
    await direct.document("rollouts-meta/revision").set({"revision": 1})
    with pytest.raises(Unavailable, match="from 2 to 1"):
        await end_of(feed)


async def test_keys_that_change_after_a_cut_wire_are_told_once_it_listens_again(
    client: AsyncClient, direct: AsyncClient, wire: Wire
) -> None:
    async with aclosing(FirestoreKeys(client).changes()) as feed:  # type: ignore[type-var]
        assert await said(feed, 5) == ""
        wire.cut()
        assert [await said(feed, 3), await said(feed, 3)] == ["", ""]  # lost, and begun anew
        await FirestoreKeys(direct).put(record())
        assert await said(feed, 1) == record().sha256


async def test_a_feed_of_keys_over_a_store_that_goes_ends_before_a_revoked_key_is_old(
    client: AsyncClient, wire: Wire
) -> None:
    feed = FirestoreKeys(client).changes()
    await said(feed, 5)
    wire.take_away()
    assert await ended(feed, within_s=5) == [""]


async def test_a_feed_of_keys_over_a_silent_store_ends_before_a_revoked_key_is_old(
    client: AsyncClient, wire: Wire
) -> None:
    feed = FirestoreKeys(client).changes()
    await said(feed, 5)
    wire.silence()
    assert await ended(feed, within_s=5) == []


@pytest.mark.usefixtures("no_listener")
async def test_a_feed_of_keys_that_cannot_listen_ends(direct: AsyncClient) -> None:
    assert await ended(FirestoreKeys(direct).changes(), within_s=5) == []


async def test_a_feed_of_a_process_that_may_not_listen_is_misconfigured(
    direct: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forbidden(*_: Any, **__: Any) -> None:
        raise PermissionDenied("not you")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(FirestoreAsyncClient, "listen", forbidden)
    with pytest.raises(Misconfigured):
        await said(FirestoreKeys(direct).changes(), 5)


async def test_a_listener_that_begins_anew_tells_so(direct: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.backends.gcp.firestore._LISTEN_FOR_S", 1.0)
    async with aclosing(FirestoreKeys(direct).changes()) as feed:  # type: ignore[type-var]
        assert [await said(feed, 5) for _ in range(3)] == ["", "", ""]


@pytest.mark.usefixtures("deaf_listener")
async def test_a_feed_of_keys_whose_listener_is_deaf_ends_before_a_revoked_key_is_old(direct: AsyncClient) -> None:
    feed = FirestoreKeys(direct).changes()
    assert await said(feed, 5) == ""
    await FirestoreKeys(direct).put(record())
    assert await ended(feed, within_s=5) == []


async def test_a_closed_feed_leaves_no_task_and_no_thread(direct: AsyncClient) -> None:
    keys, rollouts = FirestoreKeys(direct), FirestoreRollouts(direct)
    await keys.list_keys()
    tasks, threads = asyncio.all_tasks(), threading.active_count()
    async with aclosing(keys.changes()) as changed, aclosing(rollouts.watch()) as watching:  # type: ignore[type-var]
        await said(changed, 5)
        await next_of(watching)
        await next_of(watching)

    async def gone() -> bool:
        return asyncio.all_tasks() == tasks  # gRPC's own end a turn later

    await until(gone, within_s=1)
    assert threading.active_count() == threads


@pytest.mark.usefixtures("firestore_emulator")
async def test_a_feed_over_a_client_that_was_closed_is_unavailable() -> None:
    async with firestore_client() as client:
        feed = FirestoreKeys(client).changes()
        await said(feed, 5)
    await ended(feed, within_s=5)


async def test_a_resumption_that_was_not_answered_ends_no_suspension_that_came_after_it(
    wire: Wire, client: AsyncClient, direct: AsyncClient
) -> None:
    orgs, others = FirestoreOrgs(client), FirestoreOrgs(direct)
    assert await orgs.find("acme") is await others.find("acme") is None  # and both are connected
    wire.silence()
    resuming = asyncio.create_task(orgs.put(state("acme", suspended=False)))
    await others.put(state("acme", suspended=True))
    wire.cut()
    await wire.mend()
    with pytest.raises(Unavailable):
        await resuming
    found = await others.find("acme")
    assert found is not None
    assert found.suspended
