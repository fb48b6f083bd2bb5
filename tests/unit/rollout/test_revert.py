from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.backends.files.releases import FileReleaseStore
from apx.backends.memory.githost import MemoryGit
from apx.catalog.model import RolloutSpec
from apx.errors import Conflict, Unsupported
from apx.release.store import Listed
from apx.rollout.githost import check_wish
from apx.rollout.model import Evidence, Interval, Rollout, Verdict
from apx.rollout.revert import MOST_TEXT, built_from, code, product_paths, revert_wish, wish_for

GOOD, BAD = "a" * 40, "b" * 40
CANDIDATE, STABLE = "sha256:" + "c" * 64, "sha256:" + "d" * 64
PATHS = ("gitops/products/orders", "gitops/policies/products/orders")
HOSTILE = "@everyone fixes #1 <img src=x> [a](http://x) | `b` \n## c \u202e"
EVIDENCE = Evidence(
    measure="errors",
    says="fail",
    candidate=Interval(events=7, requests=50, low=0.06, high=0.3),
    stable=Interval(events=1, requests=900, low=0.0, high=0.01),
    limit=0.02,
    org="acme",
    text="6 % more fail",
)


def rollout(**changed: object) -> Rollout:
    one = Rollout(
        id="r-1",
        candidate=CANDIDATE,
        stable=STABLE,
        spec=RolloutSpec(),
        state="aborted",
        by="operator",
        why="a new plan",
        commit=BAD,
        reason="errors: 6 % more fail",
        verdict=Verdict(outcome="fail", reason="errors of acme", evidence=(EVIDENCE,)),
    )
    return msgspec.structs.replace(one, **changed)


def body(one: Rollout, *changed: str) -> str:
    return revert_wish("orders", one, good_commit=GOOD, paths=PATHS, changed=changed).body


def test_a_wish_names_its_branch_by_product_and_release() -> None:
    wish = revert_wish("orders", rollout(), good_commit=GOOD, paths=PATHS)
    assert wish.branch == "apx/revert-orders-cccccccccccc"
    check_wish(wish, "main")


@pytest.mark.parametrize(
    "said",
    [
        "`r-1`",
        "`operator`",
        "`a new plan`",
        "5 % → 25 % → 50 %",
        "| errors | fail | 7 of 50: 14.00% (6.00% to 30.00%) | 1 of 900: 0.11% (0.00% to 1.00%) | 2.00% | `acme` |",
        "apx rollout start cccccccccccc --why",
        "- `gitops/products/orders`",
    ],
)
def test_the_body_says_what_a_person_needs(said: str) -> None:
    assert said in body(rollout())


def test_shared_policies_and_plans_of_the_commit_are_named_as_staying() -> None:
    text = body(
        rollout(),
        "gitops/plans/pro.yaml",
        "gitops/policies/lib/access/access.rego",
        "gitops/policies/products/orders/policy.rego",
        "gitops/products/exports/product.yaml",
    )
    stays = text.partition("## What stays")[2].partition("##")[0]
    assert re.findall(r"^- `(.*)`$", stays, re.MULTILINE) == [
        "gitops/plans/pro.yaml",
        "gitops/policies/lib/access/access.rego",
    ]


def test_nothing_is_said_to_stay_where_nothing_shared_changed() -> None:
    assert "What stays" not in body(rollout(), "gitops/products/orders/product.yaml")


def test_an_abort_by_hand_needs_no_evidence() -> None:
    assert "What decided" not in body(rollout(verdict=None))


def test_what_decided_stands_before_what_passed() -> None:
    passed = msgspec.structs.replace(EVIDENCE, says="pass", measure="denials")
    verdict = Verdict(outcome="fail", reason="r", evidence=(passed, EVIDENCE))
    text = body(rollout(verdict=verdict))
    assert text.index("| errors | fail") < text.index("| denials | pass")


@given(text=st.text(max_size=60) | st.just(HOSTILE))
def test_texts_of_others_stay_inside_their_code_spans(text: str) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, org=text, text=text)
    verdict = Verdict(outcome="fail", reason=text, evidence=(evidence,))
    assert _outside(body(rollout(reason=text, by=text, why=text, verdict=verdict))) == _outside(body(rollout()))


@given(text=st.text(max_size=60) | st.just(HOSTILE))
def test_texts_of_others_add_no_cell_and_no_row(text: str) -> None:
    evidence = msgspec.structs.replace(EVIDENCE, org=text, text=text)
    written = body(rollout(verdict=Verdict(outcome="fail", reason="r", evidence=(evidence,))))
    rows = [line for line in written.splitlines() if line.startswith("| errors")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [8]


@given(text=st.text(max_size=2 * MOST_TEXT))
def test_a_code_span_is_one_line_of_bounded_length(text: str) -> None:
    span = code(text)
    assert len(span.splitlines()) == 1
    assert len(span) <= MOST_TEXT + 2
    assert span.encode()


def test_a_body_stays_within_what_a_host_takes() -> None:
    long = msgspec.structs.replace(EVIDENCE, text="x" * 5000, org="o" * 63)
    assert len(body(rollout(verdict=Verdict(outcome="fail", reason="r", evidence=(long,) * 500)))) < 65_536


def test_a_rollout_that_goes_on_is_not_reverted() -> None:
    with pytest.raises(Conflict, match="canary"):
        body(rollout(state="canary"))


@pytest.mark.parametrize(
    ("commit", "says"),
    [
        ("", "built outside Git"),
        (f"{BAD}-dirty", "not committed"),
        ("main", "is not a commit"),
    ],
)
def test_a_release_of_no_commit_cannot_be_reverted(commit: str, says: str) -> None:
    with pytest.raises(Unsupported, match=says):
        body(rollout(commit=commit))


def test_a_products_paths_are_its_folder_and_its_policys() -> None:
    assert product_paths("gitops", "orders", ["products.orders"], ["products.exports"]) == PATHS


def test_a_tree_at_the_root_of_its_repository_has_short_paths() -> None:
    assert product_paths("", "orders", ["products.orders"], []) == ("products/orders", "policies/products/orders")


@pytest.mark.parametrize("other", ["products.orders", "products", "products.orders.eu"])
def test_a_policy_that_another_product_shares_is_left_out(other: str) -> None:
    assert product_paths("gitops", "orders", ["products.orders"], [other]) == ("gitops/products/orders",)


def test_a_product_that_moved_to_another_policy_has_both() -> None:
    assert product_paths("gitops", "orders", ["b", "a", "a.inner"], []) == (
        "gitops/products/orders",
        "gitops/policies/a",
        "gitops/policies/b",
    )


@pytest.fixture
async def releases(tmp_path_factory: pytest.TempPathFactory) -> FileReleaseStore:
    store = FileReleaseStore(tmp_path_factory.mktemp("releases"))
    for digest, commit in ((CANDIDATE, BAD), (STABLE, f"{GOOD}-dirty")):
        listed = Listed(digest=digest, product="orders", stored_at=1.0, annotations={"commit": commit})
        await store.put_release(listed, b"")
    return store


async def test_a_releases_commit_is_what_it_was_built_from(releases: FileReleaseStore) -> None:
    assert await built_from(releases, CANDIDATE) == BAD


async def test_a_release_of_uncommitted_files_says_the_way_out(releases: FileReleaseStore) -> None:
    with pytest.raises(Unsupported, match=r"restore its files by hand, and commit before `apx release build`"):
        await built_from(releases, STABLE)


async def test_a_release_that_is_not_stored_has_no_commit(releases: FileReleaseStore) -> None:
    with pytest.raises(Unsupported, match="not in the store"):
        await built_from(releases, "sha256:" + "e" * 64)


async def test_a_wish_is_gathered_from_the_store_and_the_repository(releases: FileReleaseStore) -> None:
    shared = "gitops/plans/pro.yaml"
    files = {"gitops/products/orders/product.yaml": "good", shared: "100"}
    host = MemoryGit()
    good = host.commit(files)
    bad = host.commit({**files, "gitops/products/orders/product.yaml": "bad", shared: "200"})
    stable = "sha256:" + "f" * 64
    await releases.put_release(
        Listed(digest=stable, product="orders", stored_at=1.0, annotations={"commit": good}), b""
    )

    async def package_of(digest: str) -> str:
        return {CANDIDATE: "products.orders", stable: "products.old_orders"}[digest]

    wish = await wish_for(
        "orders",
        rollout(commit=bad, stable=stable),
        host=host,
        releases=releases,
        package_of=package_of,
        others=["products.exports"],
        root="gitops",
    )
    assert (wish.commit, wish.good_commit) == (bad, good)
    assert wish.paths[1:] == ("gitops/policies/products/old_orders", "gitops/policies/products/orders")
    assert f"- `{shared}`" in wish.body
    assert host.files((await host.open_revert(wish)).commit) == {**files, shared: "200"}


def _outside(text: str) -> str:
    """Return a body without what its code spans hold; an empty text is a dash."""
    return re.sub(r"`[^`\n]*`|—", "`", text.partition("## To try again")[0])
