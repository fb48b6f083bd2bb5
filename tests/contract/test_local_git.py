"""What a repository on this machine is safe from, beyond what every host promises."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from apx.backends.git.githost import LocalGit
from apx.errors import Conflict, Misconfigured, Unavailable
from apx.rollout.githost import RevertWish
from tests.contract.repositories import Repository

ORDERS = "gitops/products/orders/product.yaml"
EXPORTS = "gitops/products/exports/product.yaml"
GOOD = {ORDERS: "good", EXPORTS: "good"}
BAD = {ORDERS: "bad", EXPORTS: "bad"}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def wish(repository: Repository, product: str = "orders") -> RevertWish:
    """Return the wish to take the newest commit of the main branch back."""
    good, bad = repository.git("rev-list", "--reverse", "main").split()[:2]
    return RevertWish(
        product=product,
        commit=bad,
        good_commit=good,
        paths=(f"gitops/products/{product}",),
        branch=f"apx/revert-{product}-0123456789ab",
        title=f"Revert {product}",
        body="| evidence |",
    )


def bad(repository: Repository) -> Repository:
    repository.commit(GOOD)
    repository.commit(BAD)
    return repository


async def test_a_working_tree_its_index_and_head_stay_as_they_are(tmp_path: Path) -> None:
    repository = bad(Repository(tmp_path / "repository", bare=False))
    repository.git("reset", "--hard", "--quiet")
    (repository.folder / "half.txt").write_text("half done")
    repository.git("add", "half.txt")
    (repository.folder / ORDERS).write_text("being written")
    before = repository.git("status", "--porcelain=v2", "--branch"), (repository.folder / ".git/index").read_bytes()
    await LocalGit(repository.folder).open_revert(wish(repository))
    assert (repository.folder / ".git/index").read_bytes() == before[1]
    assert repository.git("status", "--porcelain=v2", "--branch") == before[0]
    assert (repository.folder / ORDERS).read_text() == "being written"


async def test_the_commit_is_apxs_own_and_tells_what_happened(repository: Repository) -> None:
    reverted = await LocalGit(bad(repository).folder).open_revert(wish(repository))
    shown = repository.git("show", "-s", "--format=%an <%ae> %cn <%ce> %s", reverted.commit)
    assert shown == "APX <apx@localhost> APX <apx@localhost> Revert orders"


async def test_no_hook_of_the_repository_runs(repository: Repository, tmp_path: Path) -> None:
    bad(repository)
    ran = tmp_path / "ran"
    for name in ("reference-transaction", "post-commit", "pre-commit", "update", "post-index-change"):
        hook = repository.folder / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {name} >>'{ran}'\n")
        hook.chmod(0o755)
    await LocalGit(repository.folder).open_revert(wish(repository))
    assert not ran.exists()


async def test_what_the_environment_says_of_git_does_not_count(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = wish(bad(repository))
    other = Repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Somebody")
    await LocalGit(repository.folder).open_revert(asked)
    assert (other.tip(asked.branch), bool(repository.tip(asked.branch))) == ("", True)


async def test_a_repository_around_the_folder_is_not_taken(repository: Repository) -> None:
    inner = bad(repository).folder / "inner"
    inner.mkdir()
    with pytest.raises(Misconfigured, match="not a git repository"):
        await LocalGit(inner).open_revert(wish(repository))


async def test_a_folder_that_is_not_there_is_a_setting_to_mend(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="APX_GIT_REPOSITORY"):
        await LocalGit(tmp_path / "nowhere").open_revert(wish(bad(repository)))


async def test_a_main_branch_that_is_not_there_is_a_setting_to_mend(repository: Repository) -> None:
    with pytest.raises(Misconfigured, match="APX_GIT_MAIN"):
        await LocalGit(bad(repository).folder, main="trunk").open_revert(wish(repository))


async def test_a_machine_without_git_is_told_so(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = wish(bad(repository))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="git is not on PATH"):
        await LocalGit(repository.folder).open_revert(asked)


async def test_a_git_that_hangs_is_ended_and_unavailable(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = wish(bad(repository))
    pid = tmp_path / "pid"
    hanging = tmp_path / "bin" / "git"
    hanging.parent.mkdir()
    hanging.write_text(f"#!/bin/sh\necho $$ >'{pid}'\nexec sleep 60\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", f"{hanging.parent}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="took over"):
        await LocalGit(repository.folder, timeout_s=0.5).open_revert(asked)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_branch_named_apx_is_in_the_way(repository: Repository) -> None:
    bad(repository).commit(GOOD, "apx")
    with pytest.raises(Misconfigured, match="refs/heads/apx"):
        await LocalGit(repository.folder).open_revert(wish(repository))


async def test_a_lock_that_is_left_is_unavailable(repository: Repository) -> None:
    asked = wish(bad(repository))
    lock = repository.folder / "refs/heads" / f"{asked.branch}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    with pytest.raises(Unavailable, match=r"\.lock"):
        await LocalGit(repository.folder).open_revert(asked)


async def test_with_merge_the_revert_becomes_the_main_branchs_head(repository: Repository) -> None:
    reverted = await LocalGit(bad(repository).folder, merge=True).open_revert(wish(repository))
    assert repository.tip("main") == reverted.commit
    assert repository.files("main") == {ORDERS: "good", EXPORTS: "bad"}


async def test_with_merge_the_same_wish_returns_what_was_merged(repository: Repository) -> None:
    host = LocalGit(bad(repository).folder, merge=True)
    first = await host.open_revert(wish(repository))
    assert await host.open_revert(wish(repository)) == first
    assert repository.tip("main") == first.commit


async def test_with_merge_an_open_revert_is_merged(repository: Repository) -> None:
    await LocalGit(bad(repository).folder).open_revert(wish(repository))
    await LocalGit(repository.folder, merge=True).open_revert(wish(repository))
    assert repository.files("main") == {ORDERS: "good", EXPORTS: "bad"}


async def test_with_merge_two_products_at_once_both_get_there(repository: Repository) -> None:
    host = LocalGit(bad(repository).folder, merge=True)
    await asyncio.gather(*(host.open_revert(wish(repository, product)) for product in ("orders", "exports")))
    assert repository.files("main") == GOOD


async def test_with_merge_what_somebody_changed_since_is_left_alone(repository: Repository) -> None:
    head = bad(repository).commit({**BAD, ORDERS: "by hand"})
    with pytest.raises(Conflict):
        await LocalGit(repository.folder, merge=True).open_revert(wish(repository))
    assert repository.tip("main") == head


async def test_merging_under_a_working_tree_is_refused(tmp_path: Path) -> None:
    repository = bad(Repository(tmp_path / "repository", bare=False))
    with pytest.raises(Misconfigured, match="APX_GIT_MERGE"):
        await LocalGit(repository.folder, merge=True).open_revert(wish(repository))
