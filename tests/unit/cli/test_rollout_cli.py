"""`apx rollout`, `rollback`, `status` and `token`: what they print, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx import bootstrap
from apx.bootstrap import Backends
from apx.catalog.model import Slo
from apx.release.load import Loader
from apx.release.store import ReleaseStore
from apx.rollout.actions import Wish, move, start
from apx.rollout.budget import Budget
from apx.rollout.model import Event
from apx.rollout.objectives import Objectives
from tests.unit.cli.ran import Run
from tests.unit.release.examples import TRUSTED, manifest, spec, stored


class World:
    """Orders live, with a candidate stored beside it."""

    def __init__(self, folder: Path, store: Backends) -> None:
        self.folder = folder
        self.store = store
        self.loader = Loader(store.releases, TRUSTED)
        self.stable = asyncio.run(self._live())
        self.candidate = asyncio.run(self.release("N", at=1.0))

    async def release(self, title: str, *, at: float = 0.0, **changes: Any) -> str:
        return await stored(self.folder, manifest("orders", spec(title=title, **changes)), at=at)

    async def _live(self) -> str:
        digest = await self.release("N-1")
        await start(self.store.rollouts, self.loader, [Wish(digest=digest)], actor="me")
        return digest

    def begin(self, *events: Event) -> None:
        async def begin() -> None:
            await start(self.store.rollouts, self.loader, [Wish(digest=self.candidate)], actor="me", why="because")
            for event in events:
                await move(self.store.rollouts, "orders", event, actor="me", reason="it said so")

        asyncio.run(begin())


@pytest.fixture
def world(tmp_path: Path, store: Backends, monkeypatch: pytest.MonkeyPatch) -> World:
    releases: ReleaseStore = store.releases
    monkeypatch.setattr(bootstrap, "loader", lambda _: Loader(releases, TRUSTED))
    return World(tmp_path / "home" / "releases", store)


def test_a_rollout_is_started_by_its_digests_first_digits(run: Run, world: World) -> None:
    ran = run("rollout", "start", world.candidate[7:19], "--why", "because")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"orders {world.candidate[7:19]} started (orders-{world.candidate[7:19]}-2)\n"


class NotHeard(Objectives):
    """Says what the second of two sources does when the first is away."""

    async def spent(self, product: str, slo: Slo) -> Budget:
        return Budget(spent=0.1, text=f"{product} is well", doubt=f"{slo.availability_percent:g} % of what?")


def test_what_was_not_known_of_the_error_budget_is_a_line_of_its_own(
    run: Run, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = msgspec.structs.replace(world.store, objectives=NotHeard())

    @asynccontextmanager
    async def opened(_: object) -> AsyncIterator[Backends]:
        yield backends

    monkeypatch.setattr("apx.bootstrap.backends", opened)
    ran = run("rollout", "start", world.candidate)
    assert (ran.code, ran.out.splitlines()[1]) == (0, "  error budget: orders is well; 99.5 % of what?")


def test_without_a_digest_what_is_newest_is_started(run: Run, world: World) -> None:
    started = run("rollout", "start", "--newest", "--json").json
    assert [(one["digest"], one["outcome"]) for one in started] == [(world.candidate, "started")]


def test_a_refused_start_is_two_with_its_reason(run: Run, world: World) -> None:
    world.begin("abort")
    ran = run("rollout", "start", world.candidate)
    assert ran.code == 2
    assert "refused: this release was taken back (it said so)" in ran.out


def test_force_without_a_reason_is_an_error(run: Run, world: World) -> None:
    ran = run("rollout", "start", world.candidate, "--force")
    assert (ran.code, ran.out) == (1, "")
    assert "say why" in ran.err


@pytest.mark.parametrize(
    ("verb", "said"),
    [("pause", "is paused"), ("abort", "is aborted"), ("promote", "is promoted")],
)
def test_each_verb_says_what_is_now(run: Run, world: World, verb: str, said: str) -> None:
    world.begin()
    ran = run("rollout", verb, "orders", "--why", "I know")
    assert (ran.code, ran.err) == (0, "")
    assert said in ran.out
    assert run("rollout", "history", "orders", "--json").json[0]["why"] == "I know"


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort"])
def test_without_a_rollout_there_is_one_line(run: Run, world: World, verb: str) -> None:
    ran = run("rollout", verb, "orders")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert world.stable


def test_an_unknown_product_is_named(run: Run, world: World) -> None:
    assert world.stable
    for words in (("rollout", "status", "nothing"), ("rollback", "nothing"), ("status", "nothing")):
        ran = run(*words)
        assert (ran.code, "nothing" in ran.err) == (1, True), words


def test_a_rollback_says_what_serves(run: Run, world: World) -> None:
    world.begin("promote")
    ran = run("rollback", "orders", "--why", "customers call")
    assert ran.out.startswith(f"orders: {world.stable[7:19]} is stable")


def test_a_status_shows_both_arms_and_what_is_waited_for(run: Run, world: World) -> None:
    world.begin("begin")
    out = run("rollout", "status", "orders").out
    for part in ("orders shadow", world.stable[7:19], world.candidate[7:19], "newly denied", "waits for"):
        assert part in out


@pytest.mark.parametrize(("event", "code"), [("promote", 0), ("abort", 2), ("pause", 2)])
def test_a_gate_ends_as_the_rollout_did(run: Run, world: World, event: Event, code: int) -> None:
    world.begin(event)
    assert run("status", "orders", "--timeout", "5").code == code


def test_a_gate_whose_time_runs_out_says_what_it_waited_for(run: Run, world: World) -> None:
    world.begin("begin")
    ran = run("rollout", "status", "orders", "--timeout", "0.3")
    assert ran.code == 1
    assert "after 0.3 s: orders shadow" in ran.err


def test_two_releases_are_compared_in_words(run: Run, world: World) -> None:
    ran = run("release", "diff", world.stable, world.candidate)
    assert (ran.code, "title" in ran.out) == (2, True)
    assert run("release", "diff", world.stable, world.stable).code == 0


def test_a_testers_header_and_an_operators_token_are_printed(run: Run, world: World) -> None:
    assert world.stable
    assert run("rollout", "token", "orders").out.startswith("apx-arm: orders.candidate.")
    token = run("token", "issue", "--role", "viewer", "--subject", "ci", "--json").json["token"]
    assert token.count(".") == 2
    for words in (("--role", "root", "--subject", "ci"), ("--role", "viewer", "--subject", "a b")):
        ran = run("token", "issue", *words)
        assert (ran.code, ran.out) == (1, "")
