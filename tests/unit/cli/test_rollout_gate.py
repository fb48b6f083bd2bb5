from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx import bootstrap
from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.rollouts import MemoryRollouts
from apx.bootstrap import Backends
from apx.catalog.model import RolloutSpec, Shadow, Step
from apx.cli.progress_text import bar
from apx.errors import Conflict, Unavailable
from apx.release.load import Loader
from apx.rollout.actions import Wish, move, start
from apx.rollout.activate import activate
from apx.rollout.active import Active, Snapshot
from apx.rollout.model import Event
from apx.settings import Settings
from tests.unit.cli.ran import Run
from tests.unit.release.examples import TRUSTED, manifest, spec, stored

SPEC = RolloutSpec(steps=(Step(weight_percent=5), Step(weight_percent=50)), shadow=Shadow(hold_s=0))
Act = Callable[[], Coroutine[Any, Any, object]]


class Scripted(MemoryRollouts):
    """Rollouts whose watch does one thing after the other, then nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Act] = []

    async def watch(self) -> AsyncIterator[Snapshot]:
        yield await self.read()
        while self.script:
            await self.script.pop(0)()
            yield await self.read()
        await asyncio.Event().wait()


class World:
    """A product with a stable release and one that could follow it."""

    def __init__(self, folder: Path, rollouts: Scripted) -> None:
        self.rollouts = rollouts
        self.loader = Loader(FileReleaseStore(folder), TRUSTED)
        self.stable = asyncio.run(stored(folder, manifest("orders", spec(title="N-1"))))
        self.candidate = asyncio.run(stored(folder, manifest("orders", spec(title="N", rollout=SPEC))))
        asyncio.run(self.wish(self.stable))

    async def wish(self, digest: str) -> None:
        await start(self.rollouts, self.loader, [Wish(digest=digest)], actor="me")

    async def move(self, event: Event) -> Active:
        return await move(self.rollouts, "orders", event, actor="me", reason="because")

    def begin(self, *events: Event) -> None:
        asyncio.run(self.wish(self.candidate))
        for event in events:
            asyncio.run(self.move(event))

    @property
    def active(self) -> Active:
        return asyncio.run(self.rollouts.read()).products["orders"]

    @property
    def state(self) -> str:
        return self.active.rollout.state if self.active.rollout else ""


@pytest.fixture
def world(store: Backends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    rollouts = Scripted()
    world = World(tmp_path / "home" / "releases", rollouts)
    monkeypatch.setattr("apx.bootstrap.loader", lambda _: world.loader)
    msgspec.structs.force_setattr(store, "rollouts", rollouts)
    return world


def test_a_release_is_rolled_out_by_its_first_digits_and_started_once(run: Run, world: World) -> None:
    first = run("rollout", "start", world.candidate[:20])
    assert (first.code, "orders" in first.out, "started" in first.out) == (0, True, True)
    again = run("rollout", "start", world.candidate, "--json")
    assert [one["outcome"] for one in again.json] == ["under-way"]


def test_the_newest_release_is_what_start_takes_and_one_that_is_live_needs_nothing(run: Run, world: World) -> None:
    newest = max(world.stable, world.candidate)  # stored at one time, so the digest decides
    (*started,) = run("rollout", "start", "--newest", "--json").json
    assert [one["digest"] for one in started] == ([] if newest == world.stable else [newest])


def test_a_release_that_was_taken_back_is_refused_with_two(run: Run, world: World) -> None:
    world.begin("abort")
    refused = run("rollout", "start", world.candidate)
    assert (refused.code, "was taken back (because)" in refused.out) == (2, True)
    assert run("rollout", "start", world.candidate, "--force").code == 1
    assert run("rollout", "start", world.candidate, "--force", "--why", "mended").code == 0


@pytest.mark.parametrize(
    ("before", "verb", "state"),
    [
        (("begin",), "promote", "promoted"),
        (("begin",), "pause", "paused"),
        (("begin", "pause"), "resume", "canary"),
        (("begin",), "abort", "aborted"),
    ],
)
def test_each_verb_moves_the_rollout(run: Run, world: World, before: tuple[Event, ...], verb: str, state: str) -> None:
    world.begin(*before)
    ran = run("rollout", verb, "orders", "--why", "I say so")
    assert (ran.code, world.state, state in ran.out) == (0, state, True)
    assert run("rollout", "history", "orders", "--limit", "1", "--json").json[0]["why"] == "I say so"


def test_a_rollback_takes_the_candidate_back_and_then_the_release(run: Run, world: World) -> None:
    world.begin("begin")
    assert run("rollback", "orders", "--why", "customers call").code == 0
    assert (world.state, world.active.stable) == ("aborted", world.stable)
    assert run("rollback", "orders").code == 1


def test_a_rollback_to_the_stable_release_keeps_what_was_before_it(run: Run, world: World) -> None:
    world.begin("begin")
    before = world.active.previous
    assert run("rollback", "orders", "--to", world.stable).code == 0
    assert (world.active.stable, world.active.previous) == (world.stable, before)


ERRORS = {
    "no rollout": (("rollout", "promote", "orders"), 1, "no rollout under way"),
    "no product": (("rollout", "abort", "nothing"), 1, "no live product 'nothing'"),
    "no history": (("rollout", "history", "nothing"), 1, "no live product 'nothing'"),
    "no status": (("status", "nothing"), 1, "no live product 'nothing'"),
    "nothing to watch": (("status", "nothing", "--watch"), 1, "no live product 'nothing'"),
    "no release": (("rollout", "start", "abc"), 1, "no stored release starts with"),
    "no arm": (("rollout", "token", "orders", "--arm", "left"), 2, "--arm"),
    "too much": (("rollout", "start", "abc", "--newest"), 2, "not both"),
    "no time": (("status", "--timeout", "-1"), 2, "--timeout"),
}


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("words", "code", "said"), ERRORS.values(), ids=ERRORS.keys())
def test_wrong_words_are_a_message(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    ran = run(*words)
    assert (ran.code, said in ran.err, "Traceback" in ran.err) == (code, True, False)


@pytest.mark.usefixtures("world")
def test_a_testers_header_is_one_that_routers_read(run: Run) -> None:
    name, value = run("rollout", "token", "orders").out.strip().split(": ")
    now_s = bootstrap.CLOCK.time()
    tokens = bootstrap.arm_tokens(Settings.load())
    assert (name, tokens.read(value, "orders", now_s)) == ("apx-arm", "candidate")
    assert tokens.read(value, "orders", now_s + 3601) is None


def test_a_status_shows_the_weight_and_what_is_waited_for(run: Run, world: World) -> None:
    world.begin("begin")
    out = run("status", "orders").out
    assert "orders canary 1/2, 5 % of the orgs" in out
    assert "waits for    the end of its hold" in out
    (shown,) = run("rollout", "status", "--json").json
    assert (shown["rollout"]["weight_percent"], set(shown["arms"])) == (5.0, {"stable", "candidate"})


@pytest.mark.parametrize(
    ("event", "code", "said"), [("promote", 0, "promoted"), ("abort", 2, "aborted"), ("pause", 2, "paused")]
)
def test_a_gate_ends_with_the_rollout(run: Run, world: World, event: Event, code: int, said: str) -> None:
    world.begin("begin")
    world.rollouts.script = [lambda: world.move("advance"), lambda: world.move(event)]
    ran = run("status", "--watch", "--timeout", "20")
    assert (ran.code, f"orders {said}" in ran.err) == (code, True)
    assert [line.split(" | ")[0] for line in ran.out.splitlines()][:2] == [
        "orders canary 1/2, 5 % of the orgs",
        "orders canary 2/2, 50 % of the orgs",
    ]


@pytest.mark.parametrize(("event", "code"), [("promote", 0), ("abort", 2)])
def test_a_gate_of_a_commit_knows_what_ended_before_it_looked(run: Run, world: World, event: Event, code: int) -> None:
    started = run("rollout", "start", world.candidate, "--commit", "c0ffee")
    assert started.code == 0
    asyncio.run(world.move("begin"))
    asyncio.run(world.move(event))
    ran = run("status", "--timeout", "20", "--commit", "c0ffee")
    assert (ran.code, "orders" in ran.err) == (code, True)
    assert run("status", "--timeout", "20", "--commit", "another").code == 0


def test_a_gate_that_runs_out_of_time_says_what_it_waited_for(run: Run, world: World) -> None:
    world.begin("begin")
    ran = run("status", "--timeout", "0.2")
    assert (ran.code, "waits for the end of its hold" in ran.err) == (1, True)


@pytest.mark.parametrize(("events", "code"), [(("promote",), 0), (("abort",), 2)])
def test_a_gate_of_a_named_product_knows_how_its_last_rollout_ended(
    run: Run, world: World, events: tuple[Event, ...], code: int
) -> None:
    world.begin(*events)
    assert run("status", "orders", "--timeout", "20").code == code


@pytest.mark.usefixtures("world")
def test_a_gate_without_a_rollout_is_open(run: Run) -> None:
    ran = run("status", "--timeout", "20")
    assert (ran.code, ran.err) == (0, "no rollout is under way\n")


def test_a_gate_sees_that_another_candidate_has_taken_the_place(run: Run, world: World, tmp_path: Path) -> None:
    world.begin()
    newer = asyncio.run(stored(tmp_path / "home" / "releases", manifest("orders", spec(title="N+1", rollout=SPEC))))
    world.rollouts.script = [lambda: world.wish(newer)]
    ran = run("status", "--timeout", "20")
    assert (ran.code, "orders superseded" in ran.err) == (2, True)


def test_a_gate_follows_the_rollout_that_waits_as_well(run: Run, world: World, tmp_path: Path) -> None:
    world.begin("begin")
    newer = asyncio.run(stored(tmp_path / "home" / "releases", manifest("orders", spec(title="N+1", rollout=SPEC))))
    asyncio.run(world.wish(newer))
    world.rollouts.script = [lambda: world.move("promote")]
    assert run("status", "--timeout", "0.3").code == 1


def test_a_store_that_goes_away_is_waited_for(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.cli.watch.AGAIN_S", 0)
    world.begin("begin")

    async def gone() -> None:
        raise Unavailable("the store does not answer")

    world.rollouts.script = [gone, lambda: world.move("promote")]
    ran = run("status", "--timeout", "20")
    assert (ran.code, "the rollouts go on" in ran.err) == (0, True)


def test_a_watch_as_json_is_one_object_in_a_line_for_each_change(run: Run, world: World) -> None:
    world.begin("begin")
    world.rollouts.script = [lambda: world.move("advance"), lambda: asyncio.sleep(0), lambda: world.move("promote")]
    lines = [json.loads(line) for line in run("status", "--timeout", "20", "--json").out.splitlines()]
    assert [(one["rollout"]["state"], one["rollout"].get("step", 0)) for one in lines] == [
        ("canary", 0),
        ("canary", 1),
        ("promoted", 1),
    ]


def test_a_bar_is_drawn_in_what_stdout_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert bar(25) == "[#####---------------]"


def test_json_is_json_also_where_only_ascii_can_be_written(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin()
    asyncio.run(move(world.rollouts, "orders", "abort", actor="me", reason="größer"))
    raw = io.BytesIO()

    def ascii_run() -> None:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
        run("status", "--json")
        sys.stdout.flush()

    ascii_run()
    assert json.loads(raw.getvalue())["products"]["orders"]["rollout"]["reason"] == "größer"


def test_an_activation_waits_for_the_rollout_and_forgets_no_abort(world: World) -> None:
    async def activated(digest: str) -> None:
        await activate(world.rollouts, world.loader, [digest], actor="me", why="", clock=bootstrap.CLOCK)

    world.begin("begin")
    with pytest.raises(Conflict, match="orders has a rollout under way: `apx rollout abort orders`"):
        asyncio.run(activated(world.candidate))
    asyncio.run(world.move("abort"))
    asyncio.run(activated(world.candidate))
    assert (world.active.stable, world.active.previous) == (world.candidate, world.stable)
    assert world.active.was_aborted(world.candidate) is not None
