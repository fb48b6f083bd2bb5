from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.rollouts import MemoryRollouts
from apx.clock import ManualClock
from apx.errors import Misconfigured, ReleaseRejected, Unavailable
from apx.release.digest import digest_of
from apx.release.load import Loader
from apx.release.model import Release
from apx.release.signing import LocalSigner
from apx.rollout.active import Active, AuditEntry, Snapshot
from apx.rollout.arms import Arms
from apx.rollout.follow import Follower
from tests.unit.admission.until import until
from tests.unit.release.examples import TRUSTED, WASM, manifest, spec, stored


class Rollouts(MemoryRollouts):
    """The fake, with ways to take it away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.away_from_watch = False
        self.error: Exception = Unavailable("away")

    async def read(self) -> Snapshot:
        if self.away:
            raise self.error
        return await super().read()

    async def watch(self) -> AsyncIterator[Snapshot]:
        async for snapshot in super().watch():
            if self.away or self.away_from_watch:
                raise self.error
            yield snapshot

    async def serve(self, product: str, digest: str) -> None:
        now = (await MemoryRollouts.read(self)).products.get(product)
        audit = AuditEntry(at_ms=0, actor="me", action="activate", product=product, before=None, after=digest)
        await self.change(Active(product=product, stable=digest, revision=now.revision if now else 0), audit)

    def remove(self, product: str) -> None:
        products = {name: one for name, one in self._snapshot.products.items() if name != product}
        self._snapshot = Snapshot(revision=self._snapshot.revision + 1, products=products)


class Served:
    """A prepared release, and whether it was put away."""

    def __init__(self, release: Release) -> None:
        self.title = release.manifest.spec.title
        self.digest = release.digest
        self.retired = 0


class World:
    """A follower, its stores, and what it has prepared."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rollouts = Rollouts()
        self.prepared: list[Served] = []
        self.unfit: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []
        self.preparing = False
        self.clock = ManualClock()
        self.followers: list[Follower[Served]] = []
        self.served_at_retirement: list[dict[str, str]] = []
        self.may_go_on = threading.Event()

    def follower(self) -> Follower[Served]:
        return Follower(
            self.rollouts,
            Loader(FileReleaseStore(self.folder / "releases"), TRUSTED),
            prepare=self._prepare,
            retire=self._retire,
            last_known_good=self.folder / "state" / "router.json",
            clock=self.clock,
        )

    async def started(self) -> Follower[Served]:
        follower = self.follower()
        self.followers.append(follower)
        self.tasks.append(asyncio.ensure_future(follower.run()))
        async with asyncio.timeout(5):
            await follower.settled.wait()
        return follower

    async def store(self, product: str = "orders", title: str = "first", signer: LocalSigner | None = None) -> str:
        made = manifest(product, spec(title=title, base_path=f"/{product}"))
        folder = self.folder / "releases"
        return await (stored(folder, made, signer=signer) if signer else stored(folder, made))

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    def _prepare(self, release: Release) -> Served:
        title = release.manifest.spec.title
        if title in self.unfit:
            raise ReleaseRejected(f"{title} is unfit")
        if title == "slow":
            self.preparing = True
            self.may_go_on.wait(5)
        if title == "crashes":
            raise RuntimeError("a bug of ours")
        self.prepared.append(Served(release))
        return self.prepared[-1]

    def _retire(self, served: Served) -> None:
        served.retired += 1
        self.served_at_retirement += [titles(follower) for follower in self.followers]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("apx.rollout.follow._RETRY_S", 0.01)
    monkeypatch.setattr("apx.backends.memory.rollouts._SIGN_OF_LIFE_S", 0.02)
    world = World(tmp_path)
    yield world
    await world.stop()


def titles(follower: Follower[Served]) -> dict[str, str]:
    return {name: arms.stable.title for name, arms in follower.serving.items()}


async def test_what_is_live_is_served(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    assert titles(await world.started()) == {"orders": "first"}


async def test_a_change_is_followed(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    await world.rollouts.serve("orders", await world.store(title="second"))
    await until(lambda: titles(follower) == {"orders": "second"})


async def test_a_new_product_joins_without_touching_the_others(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    before = follower.serving["orders"].stable
    await world.rollouts.serve("exports", await world.store("exports"))
    await until(lambda: "exports" in follower.serving)
    assert follower.serving["orders"].stable is before


async def test_a_removed_product_is_no_longer_served(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.rollouts.serve("exports", await world.store("exports"))
    follower = await world.started()
    gone = follower.serving["exports"].stable
    world.rollouts.remove("exports")
    await until(lambda: titles(follower) == {"orders": "first"})
    assert gone.retired == 1


async def test_who_holds_the_current_state_sees_no_change_in_it(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    held = follower.serving
    await world.rollouts.serve("orders", await world.store(title="second"))
    await until(lambda: titles(follower) == {"orders": "second"})
    assert held["orders"].stable.title == "first"


async def test_what_was_replaced_is_retired_once_and_after_the_swap(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    old = follower.serving["orders"].stable
    await world.rollouts.serve("orders", await world.store(title="second"))
    await until(lambda: bool(old.retired))
    await world.rollouts.serve("exports", await world.store("exports"))
    await until(lambda: "exports" in follower.serving)
    assert (old.retired, world.served_at_retirement) == (1, [{"orders": "second"}])


@pytest.mark.parametrize(
    "bad", ["unsigned", "damaged", "missing", "unfit", "another product's", "no digest", "crashes"]
)
async def test_a_bad_release_leaves_the_last_good_one_serving(world: World, bad: str) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    good = follower.serving["orders"].stable
    await world.rollouts.serve("orders", await bad_release(world, bad))
    await until(lambda: "orders" in follower.refused)
    assert {name: arms.stable for name, arms in follower.serving.items()} == {"orders": good}
    assert good.retired == 0


async def bad_release(world: World, kind: str) -> str:
    if kind == "unsigned":
        return await world.store(title="bad", signer=LocalSigner(Ed25519PrivateKey.generate()))
    if kind == "missing":
        return "sha256:" + "0" * 64
    if kind == "no digest":
        return "../../etc/passwd"
    if kind == "another product's":
        return await world.store("exports", title="bad")
    if kind == "unfit":
        world.unfit.add("bad")
    digest = await world.store(title="crashes" if kind == "crashes" else "bad")
    if kind == "damaged":
        break_file(world)
    return digest


def break_file(world: World) -> None:
    (world.folder / "releases" / "blobs" / digest_of(WASM).removeprefix("sha256:")).write_bytes(b"rot")


async def test_a_bad_release_does_not_hold_the_others_back(world: World) -> None:
    await world.rollouts.serve("orders", "sha256:" + "0" * 64)
    await world.rollouts.serve("exports", await world.store("exports"))
    assert titles(await world.started()) == {"exports": "first"}


async def test_a_refusal_says_why(world: World) -> None:
    world.unfit.add("first")
    await world.rollouts.serve("orders", digest := await world.store())
    follower = await world.started()
    assert (follower.refused["orders"].digest, follower.refused["orders"].reason) == (digest, "first is unfit")


async def test_a_refused_release_is_tried_again_and_then_served(world: World) -> None:
    world.unfit.add("first")
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    world.unfit.clear()
    await until(lambda: titles(follower) == {"orders": "first"})
    assert follower.refused == {}


async def test_going_back_to_what_serves_forgets_the_refusal(world: World) -> None:
    await world.rollouts.serve("orders", good := await world.store())
    follower = await world.started()
    await world.rollouts.serve("orders", "sha256:" + "0" * 64)
    await until(lambda: "orders" in follower.refused)
    await world.rollouts.serve("orders", good)
    await until(lambda: not follower.refused)
    assert len(world.prepared) == 1


async def test_preparing_a_release_does_not_hold_requests_up(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    await world.rollouts.serve("orders", await world.store(title="slow"))
    await until(lambda: world.preparing)
    world.may_go_on.set()
    await until(lambda: titles(follower) == {"orders": "slow"})


async def test_nothing_serves_when_the_store_has_nothing(world: World) -> None:
    assert titles(await world.started()) == {}


async def test_what_serves_goes_on_while_the_store_is_away(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    world.rollouts.away = True
    await asyncio.sleep(0.1)
    assert titles(follower) == {"orders": "first"}
    assert not world.tasks[0].done()


async def test_the_change_made_meanwhile_is_followed_when_the_store_returns(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    world.rollouts.away = True
    await world.rollouts.serve("orders", await world.store(title="second"))
    await asyncio.sleep(0.05)
    world.rollouts.away = False
    await until(lambda: titles(follower) == {"orders": "second"})


async def test_without_a_store_the_last_known_good_serves_from_disk(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.started()
    await world.stop()
    world.rollouts.away = True
    assert titles(await world.started()) == {"orders": "first"}


async def test_a_store_that_goes_between_the_first_two_questions_is_away(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.started()
    await world.stop()
    world.rollouts.away_from_watch = True
    assert titles(await world.started()) == {"orders": "first"}


async def test_the_store_is_followed_again_after_a_start_without_it(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.started()
    await world.stop()
    world.rollouts.away = True
    follower = await world.started()
    await world.rollouts.serve("orders", await world.store(title="second"))
    world.rollouts.away = False
    await until(lambda: titles(follower) == {"orders": "second"})


async def test_what_is_remembered_is_what_served_and_not_what_was_refused(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()
    world.unfit.add("bad")
    await world.rollouts.serve("orders", await world.store(title="bad"))
    await until(lambda: bool(follower.refused))
    await world.stop()
    world.rollouts.away = True
    assert titles(await world.started()) == {"orders": "first"}


async def test_what_is_remembered_is_verified_again(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.started()
    await world.stop()
    world.rollouts.away = True
    break_file(world)
    assert titles(await world.started()) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"products":{"orders":{"product":"orders"}}}'])
async def test_a_damaged_memory_is_no_memory(world: World, content: bytes) -> None:
    remember(world, content)
    world.rollouts.away = True
    assert titles(await world.started()) == {}


def remember(world: World, content: bytes) -> None:
    (world.folder / "state").mkdir()
    (world.folder / "state" / "router.json").write_bytes(content)


async def test_a_memory_that_cannot_be_written_does_not_stop_serving(world: World) -> None:
    (world.folder / "state").write_text("in the way")
    await world.rollouts.serve("orders", await world.store())
    assert titles(await world.started()) == {"orders": "first"}


async def test_two_processes_of_one_kind_share_a_memory(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await asyncio.gather(*(world.started() for _ in range(4)))
    assert [path.name for path in (world.folder / "state").iterdir()] == ["router.json"]
    remembered = msgspec.json.decode((world.folder / "state" / "router.json").read_bytes(), type=Snapshot)
    assert list(remembered.products) == ["orders"]


async def test_a_restart_beside_a_bad_release_serves_what_served_last(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.started()
    await world.stop()
    world.unfit.add("bad")
    await world.rollouts.serve("orders", await world.store(title="bad"))
    for _ in range(2):  # the first restart must not forget it either
        follower = await world.started()
        assert (titles(follower), list(follower.refused)) == ({"orders": "first"}, ["orders"])
        await world.stop()


async def test_a_last_good_release_is_not_forgotten_while_it_cannot_be_read(world: World) -> None:
    await world.rollouts.serve("orders", await world.store())
    await world.started()
    await world.stop()
    world.unfit |= {"first", "bad"}
    await world.rollouts.serve("orders", await world.store(title="bad"))
    assert titles(await world.started()) == {}
    await world.stop()
    world.unfit.remove("first")
    assert titles(await world.started()) == {"orders": "first"}


@pytest.mark.parametrize("why", ["away", "all refused"])
async def test_not_to_know_what_serves_is_not_to_serve_nothing(world: World, why: str) -> None:
    if why == "all refused":
        await world.rollouts.serve("orders", "sha256:" + "0" * 64)
    world.rollouts.away = why == "away"
    follower, told = world.follower(), list[dict[str, Arms[Served]]]()

    async def follow() -> None:
        told.extend([current async for current in follower.changes()])

    world.tasks.append(asyncio.ensure_future(follow()))
    await until(follower.settled.is_set)
    await asyncio.sleep(0.05)
    assert told == []


@pytest.mark.parametrize("error", [Misconfigured("the password was changed"), ValueError("not of this version")])
async def test_a_store_that_refuses_this_process_does_not_end_what_serves(world: World, error: Exception) -> None:
    await world.rollouts.serve("orders", await world.store())
    follower = await world.started()

    world.rollouts.away = True
    world.rollouts.error = error
    await asyncio.sleep(0.05)
    assert titles(follower) == {"orders": "first"}
    assert not world.tasks[0].done()


async def test_the_age_is_unknown_before_the_store_has_answered(world: World) -> None:
    world.rollouts.away = True
    assert (await world.started()).age_s == float("inf")


async def test_the_age_grows_while_the_store_is_silent(world: World) -> None:
    follower = await world.started()
    await until(lambda: follower.age_s == 0)
    world.rollouts.away = True
    await asyncio.sleep(0.05)
    world.clock.advance(7)
    assert follower.age_s == 7


async def test_no_unverified_release_is_ever_prepared(world: World) -> None:
    foreign = LocalSigner(Ed25519PrivateKey.generate())
    follower = await world.started()
    for number in range(20):
        bad = number % 2
        digest = await world.store(title=f"{'foreign' if bad else 'ours'} {number}", signer=foreign if bad else None)
        await world.rollouts.serve("orders", digest)
        await until(partial(_is_worked_through, follower, digest))
    assert [served.title for served in world.prepared if served.title.startswith("foreign")] == []


def _is_worked_through(follower: Follower[Served], digest: str) -> bool:
    return digest in {
        *(arms.stable_digest for arms in follower.serving.values()),
        *(refusal.digest for refusal in follower.refused.values()),
    }
