"""What every host of pull requests promises: in process, a repository of this machine, GitHub over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.backends.git.githost import LocalGit
from apx.backends.github.githost import GitHub
from apx.backends.memory.githost import MemoryGit
from apx.clock import ManualClock
from apx.errors import Conflict, NotFound, Unsupported
from apx.rollout.githost import GitHost, Reverted, RevertWish, check_path, check_wish
from tests.contract.repositories import NAME, TOKEN, GitHubServer, Repository

ORDERS = "gitops/products/orders/product.yaml"
POLICY = "gitops/policies/products/orders/policy.rego"
SHARED = "gitops/policies/lib/access/access.rego"
OTHER = "gitops/products/exports/product.yaml"
GOOD = {ORDERS: "good", POLICY: "allow", SHARED: "shared", OTHER: "other", "README.md": "read"}
BAD = {**GOOD, ORDERS: "bad", POLICY: "deny", SHARED: "shared, changed"}
PATHS = ("gitops/products/orders", "gitops/policies/products/orders")
BRANCH = "apx/revert-orders-0123456789ab"
NOWHERE = "f" * 40


class Repo(Protocol):
    """What a test does to the repository behind a host."""

    def commit(self, files: Mapping[str, str], branch: str = "main") -> str: ...
    def files(self, commit: str) -> dict[str, str]: ...
    def tip(self, branch: str) -> str: ...


class MemoryRepo:
    def __init__(self, host: MemoryGit) -> None:
        self._host = host
        self.commit = host.commit
        self.files = host.files

    def tip(self, branch: str) -> str:
        return self._host.branches.get(branch, "")


class World(msgspec.Struct, frozen=True):
    host: GitHost
    repo: Repo
    good: str
    bad: str

    def wish(self, **changed: object) -> RevertWish:
        wish = RevertWish(
            product="orders",
            commit=self.bad,
            good_commit=self.good,
            paths=PATHS,
            branch=BRANCH,
            title="Revert orders: release 0123456789ab was aborted",
            body="| evidence |",
        )
        return msgspec.structs.replace(wish, **changed)


@pytest.fixture(params=["memory", "bare", "working-tree", "github"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    server = None
    host: GitHost
    repo: Repo
    if request.param == "memory":
        host = MemoryGit()
        repo = MemoryRepo(host)
    else:
        repo = Repository(tmp_path / "repository", bare=request.param != "working-tree")
        host = LocalGit(repo.folder)
        if request.param == "github":
            server = GitHubServer(repo)
            server.start()
            host = GitHub(NAME, lambda: TOKEN, clock=ManualClock(), url=server.url, pace_s=0)
    try:
        yield World(host, repo, repo.commit(GOOD), repo.commit(BAD))
    finally:
        if server is not None:
            server.stop()


async def test_a_revert_restores_the_products_files_and_nothing_else(world: World) -> None:
    reverted = await world.host.open_revert(world.wish())
    assert world.repo.files(reverted.commit) == {**BAD, ORDERS: "good", POLICY: "allow"}


async def test_a_revert_stands_on_the_main_branchs_head(world: World) -> None:
    world.repo.commit({**BAD, OTHER: "newer", "docs/new.md": "new"})
    reverted = await world.host.open_revert(world.wish())
    assert world.repo.files(reverted.commit) == {
        **BAD,
        ORDERS: "good",
        POLICY: "allow",
        OTHER: "newer",
        "docs/new.md": "new",
    }


async def test_a_revert_is_on_its_branch(world: World) -> None:
    reverted = await world.host.open_revert(world.wish())
    assert world.repo.tip(BRANCH) == reverted.commit


async def test_a_revert_leaves_the_main_branch_alone(world: World) -> None:
    await world.host.open_revert(world.wish())
    assert world.repo.tip("main") == world.bad


async def test_a_revert_removes_files_that_the_bad_commit_added(world: World) -> None:
    added = world.repo.commit({**BAD, "gitops/products/orders/jwks.json": "{}"})
    reverted = await world.host.open_revert(world.wish(commit=added))
    assert "gitops/products/orders/jwks.json" not in world.repo.files(reverted.commit)


async def test_a_revert_brings_back_a_whole_folder(world: World) -> None:
    gone = world.repo.commit({path: text for path, text in BAD.items() if "orders" not in path})
    reverted = await world.host.open_revert(world.wish(commit=gone))
    files = world.repo.files(reverted.commit)
    assert (files[ORDERS], files[POLICY]) == ("good", "allow")


async def test_a_revert_removes_a_product_that_was_not_there_before(world: World) -> None:
    before = world.repo.commit({OTHER: "other"})
    after = world.repo.commit(BAD)
    reverted = await world.host.open_revert(world.wish(good_commit=before, commit=after))
    assert world.repo.files(reverted.commit).keys() == BAD.keys() - {ORDERS, POLICY}


async def test_a_file_in_place_of_a_folder_becomes_the_folder_again(world: World) -> None:
    flat = world.repo.commit({**{p: t for p, t in BAD.items() if p != ORDERS}, "gitops/products/orders": "a file"})
    reverted = await world.host.open_revert(world.wish(commit=flat))
    assert world.repo.files(reverted.commit)[ORDERS] == "good"


async def test_a_name_that_begins_alike_is_left_alone(world: World) -> None:
    alike = world.repo.commit({**BAD, "gitops/products/orders-eu/product.yaml": "alike"})
    reverted = await world.host.open_revert(world.wish(commit=alike))
    assert world.repo.files(reverted.commit)["gitops/products/orders-eu/product.yaml"] == "alike"


async def test_the_same_wish_returns_what_is_open(world: World) -> None:
    first = await world.host.open_revert(world.wish())
    assert await world.host.open_revert(world.wish()) == first


async def test_an_open_revert_is_returned_also_after_the_main_branch_went_on(world: World) -> None:
    first = await world.host.open_revert(world.wish())
    world.repo.commit({**BAD, ORDERS: "by hand"})
    assert await world.host.open_revert(world.wish()) == first


async def test_two_who_ask_at_once_get_the_same(world: World) -> None:
    both = await asyncio.gather(*(world.host.open_revert(world.wish()) for _ in range(2)))
    assert both[0].where.split(" @ ")[0] == both[1].where.split(" @ ")[0]
    assert world.repo.files(world.repo.tip(BRANCH)) == {**BAD, ORDERS: "good", POLICY: "allow"}


async def test_a_merged_revert_is_still_found(world: World) -> None:
    first = await world.host.open_revert(world.wish())
    merge(world)
    assert await world.host.open_revert(world.wish()) == first


async def test_after_a_merge_another_bad_commit_gets_another_revert(world: World) -> None:
    first = await world.host.open_revert(world.wish())
    merge(world)
    again = world.repo.commit({**BAD, ORDERS: "bad again"})
    reverted = await world.host.open_revert(world.wish(commit=again))
    assert reverted.commit != first.commit
    assert world.repo.files(world.repo.tip(BRANCH)) == {**BAD, ORDERS: "good", POLICY: "allow"}


async def test_where_main_reads_well_already_nothing_is_opened(world: World) -> None:
    head = world.repo.commit({**BAD, ORDERS: "good", POLICY: "allow"})
    assert await world.host.open_revert(world.wish()) == Reverted(where=f"main @ {head[:12]}", commit=head)
    assert not world.repo.tip(BRANCH)


async def test_files_that_somebody_changed_since_are_a_conflict(world: World) -> None:
    world.repo.commit({**BAD, ORDERS: "by hand"})
    with pytest.raises(Conflict, match="changed on the main branch after"):
        await world.host.open_revert(world.wish())
    assert not world.repo.tip(BRANCH)


async def test_a_branch_that_holds_something_else_is_a_conflict(world: World) -> None:
    world.repo.commit({**BAD, ORDERS: "of a person"}, BRANCH)
    with pytest.raises(Conflict, match="holds something else"):
        await world.host.open_revert(world.wish())


@pytest.mark.parametrize("which", ["commit", "good_commit"])
async def test_an_unknown_commit_is_not_found(world: World, which: str) -> None:
    with pytest.raises(NotFound, match="ffffffffffff"):
        await world.host.open_revert(world.wish(**{which: NOWHERE}))


async def test_a_product_that_reads_the_same_in_both_commits_cannot_be_reverted(world: World) -> None:
    shared_only = world.repo.commit({**GOOD, SHARED: "changed"})
    with pytest.raises(Unsupported, match="shared"):
        await world.host.open_revert(world.wish(commit=shared_only))


@pytest.mark.parametrize(
    "changed",
    [
        {"commit": "--upload-pack=x"},
        {"commit": "main"},
        {"good_commit": "HEAD~1"},
        {"branch": "-f"},
        {"branch": "main"},
        {"branch": "apx/../main"},
        {"paths": ()},
        {"paths": ("gitops", "gitops/products")},
        {"paths": ("../secrets",)},
        {"paths": ("/etc/passwd",)},
        {"paths": (":(glob)**",)},
    ],
    ids=str,
)
async def test_names_that_could_be_anything_else_are_refused(world: World, changed: dict[str, object]) -> None:
    with pytest.raises(Unsupported):
        await world.host.open_revert(world.wish(**changed))


async def test_the_files_that_two_commits_differ_in_are_named(world: World) -> None:
    assert await world.host.changed(world.good, world.bad, "gitops") == (SHARED, POLICY, ORDERS)


async def test_files_that_came_and_went_are_named(world: World) -> None:
    moved = world.repo.commit({**{p: t for p, t in GOOD.items() if p != OTHER}, "gitops/new.yaml": "other"})
    assert await world.host.changed(world.good, moved, "") == ("gitops/new.yaml", OTHER)


async def test_only_what_lies_under_the_folder_is_named(world: World) -> None:
    assert await world.host.changed(world.good, world.bad, "gitops/products") == (ORDERS,)


async def test_changes_of_an_unknown_commit_are_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.host.changed(world.good, NOWHERE, "")


@given(path=st.text(max_size=40))
def test_a_path_that_passes_is_relative_and_plain(path: str) -> None:
    try:
        check_path(path)
    except Unsupported:
        return
    assert not path.startswith(("/", "-", ".", ":"))
    assert ".." not in path.split("/")
    assert path.isascii()


@given(branch=st.text(max_size=40))
def test_a_branch_that_passes_is_one_of_ours(branch: str) -> None:
    wish = RevertWish(
        product="orders", commit="a" * 40, good_commit="b" * 40, paths=PATHS, branch=branch, title="t", body=""
    )
    try:
        check_wish(wish, "main")
    except Unsupported:
        return
    assert branch.startswith("apx/")


def merge(world: World) -> None:
    """Merge the revert with its history, as a person would."""
    if isinstance(world.host, MemoryGit):
        world.host.branches["main"] = world.host.branches[BRANCH]
        return
    assert isinstance(world.repo, Repository)
    world.repo.git("update-ref", "refs/heads/main", world.repo.tip(BRANCH))
