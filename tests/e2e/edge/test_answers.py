"""What backends answered reaches the tally: by product, release and org, errors apart, through Envoy's own log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from apx.clock import SystemClock
from apx.rollout.counts import Counts, Tally, upper_bound_s
from services.edge.answers import Answers
from services.edge.counting import Counting
from tests.e2e.edge.raw import request, send
from tests.e2e.edge.test_side_by_side import both_arms, pair
from tests.e2e.edge.world import World, until
from tests.unit.edge.manifests import digest, manifest, served

pytestmark = pytest.mark.e2e
OLD, NEW = {"x-api-key": "old"}, {"x-api-key": "new"}


class Counted:
    """What one Envoy's answers are counted as."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tally = Tally()
        self.stable, self.candidate = pair(world)
        at = f"http://127.0.0.1:{world.backend.port}"
        self.stream = manifest("stream", url=at, streaming=True)
        self.dead = manifest("dead", url="http://127.0.0.1:1")
        products = (self.stable, self.candidate), pair(world, "inside", url="http://10.0.0.1", allow_private=False)
        world.publish(*products, self.stream, self.dead)
        both_arms(world, products)
        for one in (self.stream, self.dead):
            world.router.arms[one.product] = ("stable", digest(one).removeprefix("sha256:")[:12])
        answers = Answers(self.tally)
        answers.serve(served(*products, self.stream, self.dead))
        self.counting = Counting(world.settings, answers, SystemClock())
        self.world.loop.run(self.counting.count())

    def of(self, product: str, release: str, answers: int) -> Counts:
        """Wait for so many answers, and return what was counted; a second look adds nothing."""
        seen = self.tally.of(product, release, "acme")
        until(lambda: self.world.loop.run(self._look()) or seen.answers >= answers)
        assert seen.answers == answers
        return seen

    async def _look(self) -> bool:
        await self.counting.count()
        return False


@pytest.fixture
def counted() -> Iterator[Counted]:
    world = World(edge_admit_timeout_s=5, edge_answers_bytes=1024)
    try:
        counted = Counted(world)
        yield counted
        counted.counting.close()
    finally:
        world.close()


def _sum(latency: dict[int, int]) -> int:
    return sum(latency.values())


def test_answers_and_errors_are_counted_by_release(counted: Counted) -> None:
    world = counted.world
    for headers in (OLD, OLD, NEW):
        assert world.call("GET", "/forecast/x", headers=headers).status_code == 200
    assert world.call("GET", "/forecast/fault", headers=NEW).status_code == 500
    assert world.call("GET", "/forecast/gone", headers=NEW).status_code == 404
    assert world.call("GET", "/forecast/stall", headers=NEW).status_code == 504
    new = counted.of("forecast", digest(counted.candidate), 4)
    assert (new.errors, _sum(new.latency)) == (2, 4)
    assert 0.3 <= max(upper_bound_s(at) for at in new.latency) < 2  # the one that came too late
    old = counted.of("forecast", digest(counted.stable), 2)
    assert (old.errors, _sum(old.latency)) == (0, 2)


def test_what_no_backend_had_a_part_in_is_not_counted(counted: Counted) -> None:
    world = counted.world
    assert world.call("GET", "/forecast/x", headers={"x-api-key": "deny"}).status_code == 403
    assert world.call("POST", "/forecast/body", headers=OLD, content=b"a" * 1000).status_code == 413
    assert world.call("GET", "/forecast/x", headers={"x-api-key": "other"}).status_code == 200  # by the stable one
    send(world.settings.edge_port, request("GET /forecast/stall HTTP/1.1", "x-api-key: old"), wait_s=0.1)  # leaves
    assert world.call("GET", "/forecast/x", headers=OLD).status_code == 200
    assert counted.of("forecast", digest(counted.stable), 1).errors == 0
    assert [release for release, _ in counted.tally.take()["forecast"]] == [digest(counted.stable)]


def test_a_backend_that_is_not_there_is_an_error(counted: Counted) -> None:
    assert counted.world.call("GET", "/dead/x", headers={"x-api-key": "dead"}).status_code == 503
    assert counted.of("dead", digest(counted.dead), 1).errors == 1


def test_a_candidate_that_the_edge_cannot_serve_is_an_error_of_the_candidate(counted: Counted) -> None:
    _, candidate = pair(counted.world, "inside", url="http://10.0.0.1", allow_private=False)
    assert counted.world.call("GET", "/inside/x", headers={"x-api-key": "new-inside"}).status_code == 503
    assert counted.of("inside", digest(candidate), 1).errors == 1


def test_a_websocket_counts_when_it_opens_and_a_stream_by_its_first_byte(counted: Counted) -> None:
    world = counted.world
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "X-Api-Key: stream")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    send(world.settings.edge_port, request("GET /stream/socket HTTP/1.1", *fields, key))
    assert world.call("GET", "/stream/events", headers={"x-api-key": "stream"}).text.count("data:") == 3
    seen = counted.of("stream", digest(counted.stream), 2)
    assert seen.errors == 0
    assert max(upper_bound_s(at) for at in seen.latency) < 0.4  # the events took 0.6 s


def test_no_answer_is_lost_or_counted_twice_while_the_file_is_begun_anew(counted: Counted) -> None:
    async def look(ended: asyncio.Event) -> None:
        while not ended.is_set():
            await counted.counting.count()
            await asyncio.sleep(0.05)

    ended = asyncio.Event()
    looking = asyncio.run_coroutine_threadsafe(look(ended), counted.world.loop.loop)
    pause = threading.Event()
    for number in range(60):  # several files of a KiB each
        assert counted.world.call("GET", "/forecast/x", headers=OLD).status_code == 200
        if number % 10 == 0:
            pause.wait(0.3)
    counted.world.loop.loop.call_soon_threadsafe(ended.set)
    looking.result(5)
    counted.of("forecast", digest(counted.stable), 60)
    assert counted.world.settings.answers_path.with_suffix(".log.1").exists()
