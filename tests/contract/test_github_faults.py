"""What the GitHub adapter makes of everything that goes wrong between it and GitHub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from apx.backends.github.githost import GitHub
from apx.clock import ManualClock
from apx.errors import ApxError, Misconfigured, Unavailable
from apx.rollout.githost import RevertWish
from tests.contract.repositories import NAME, TOKEN, Fault, GitHubServer, Refusal, Repository, slow

ORDERS = "gitops/products/orders/product.yaml"
BRANCH = "apx/revert-orders-0123456789ab"


class World:
    def __init__(self, server: GitHubServer) -> None:
        self.server = server
        self.clock = ManualClock()
        self.good = server.repository.commit({ORDERS: "good", "README.md": "read"})
        self.bad = server.repository.commit({ORDERS: "bad", "README.md": "read"})
        self.wish = RevertWish(
            product="orders",
            commit=self.bad,
            good_commit=self.good,
            paths=("gitops/products/orders",),
            branch=BRANCH,
            title="Revert orders",
            body="| evidence |",
        )

    def host(self, **changed: Any) -> GitHub:
        options = {"url": self.server.url, "clock": self.clock, "pace_s": 0, **changed}
        return GitHub(NAME, lambda: TOKEN, **options)

    def restored(self) -> bool:
        return self.server.repository.files(self.server.repository.tip(BRANCH)).get(ORDERS) == "good"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    server = GitHubServer(Repository(tmp_path / "repository"))
    server.start()
    yield World(server)
    server.stop()


def refusing(status: int, message: str, headers: Mapping[str, str] | None = None, *, at: str = "") -> Fault:
    """Return a server that refuses requests whose `METHOD path` contains `at`."""

    def fault(method: str, path: str) -> None:
        if at in f"{method} {path}":
            raise Refusal(status, {"message": message}, headers)

    return fault


def once(fault: Fault, at: str) -> Fault:
    """Return a server with a fault at the first request whose `METHOD path` contains `at`."""
    left = [1]

    def first(method: str, path: str) -> None:
        if at in f"{method} {path}" and left:
            left.pop()
            fault(method, path)

    return first


def reset(_method: str, _path: str) -> None:
    raise ConnectionResetError


async def test_a_pull_request_says_what_the_wish_says(world: World) -> None:
    reverted = await world.host().open_revert(world.wish)
    pull = world.server.pulls[0]
    assert (pull.title, pull.body, pull.labels) == ("Revert orders", "| evidence |", ["apx-revert"])
    assert reverted.where == f"https://github.example/{NAME}/pull/1"


async def test_the_evidence_is_not_in_the_commits_message(world: World) -> None:
    reverted = await world.host().open_revert(world.wish)
    assert "evidence" not in world.server.repository.git("show", "-s", "--format=%B", reverted.commit)


async def test_a_pull_request_is_not_labelled_twice(world: World) -> None:
    await world.host().open_revert(world.wish)
    await world.host().open_revert(world.wish)
    assert world.server.pulls[0].labels == ["apx-revert"]


async def test_a_pull_request_that_a_person_closed_stays_closed(world: World) -> None:
    first = await world.host().open_revert(world.wish)
    world.server.pulls[0].state = "closed"
    assert await world.host().open_revert(world.wish) == first
    assert len(world.server.pulls) == 1


async def test_a_branch_without_its_pull_request_gets_one(world: World) -> None:
    world.server.fault = refusing(500, "oops", at="POST /repos/example/products/pulls")
    with pytest.raises(Unavailable):
        await world.host().open_revert(world.wish)
    tip = world.server.repository.tip(BRANCH)
    world.server.fault = lambda _method, _path: None
    assert (await world.host().open_revert(world.wish)).commit == tip


async def test_a_pull_request_that_came_to_be_meanwhile_is_found(world: World) -> None:
    other = world.host()

    def meanwhile(_method: str, _path: str) -> None:
        # Another one opens it between our look and our request.
        world.server._make_pull({"head": BRANCH, "title": "of another", "body": ""})  # noqa: SLF001

    world.server.fault = once(meanwhile, "POST /repos/example/products/pulls")
    await other.open_revert(world.wish)
    assert [pull.title for pull in world.server.pulls] == ["of another"]


async def test_a_branch_that_came_to_be_meanwhile_is_used(world: World) -> None:
    def meanwhile(_method: str, _path: str) -> None:
        world.server.repository.commit({ORDERS: "good", "README.md": "read"}, BRANCH)

    world.server.fault = once(meanwhile, "POST /repos/example/products/git/refs")
    await world.host().open_revert(world.wish)
    assert world.restored()


EVERY_STEP = [
    "GET /repos/example/products/git/ref/",
    "GET /repos/example/products/git/commits",
    "GET /repos/example/products/git/trees",
    "GET /repos/example/products/pulls",
    "POST /repos/example/products/git/trees",
    "POST /repos/example/products/git/commits",
    "POST /repos/example/products/git/refs",
    "POST /repos/example/products/pulls",
    "POST /repos/example/products/issues/1/labels",
]


@pytest.mark.parametrize("at", EVERY_STEP)
@pytest.mark.parametrize("fault", [refusing(500, "oops"), refusing(503, "busy"), reset], ids=["500", "503", "reset"])
async def test_a_fault_at_any_step_is_mended_by_asking_again(world: World, at: str, fault: Fault) -> None:
    world.server.fault = once(fault, at)
    with pytest.raises(Unavailable):
        await world.host().open_revert(world.wish)
    await world.host().open_revert(world.wish)
    assert world.restored()
    assert [(pull.state, pull.labels) for pull in world.server.pulls] == [("open", ["apx-revert"])]


async def test_a_wrong_token_is_a_setting_to_mend(world: World) -> None:
    world.server.fault = refusing(401, "Bad credentials")
    with pytest.raises(Misconfigured, match="APX_GITHUB_TOKEN_FILE"):
        await world.host().open_revert(world.wish)


@pytest.mark.parametrize("at", ["GET ", "POST /repos/example/products/git/trees", "POST /repos/example/products/pulls"])
async def test_a_missing_permission_is_a_setting_to_mend(world: World, at: str) -> None:
    world.server.fault = refusing(403, "Resource not accessible by personal access token", at=at)
    with pytest.raises(Misconfigured, match="pull requests: write"):
        await world.host().open_revert(world.wish)


async def test_a_label_that_may_not_be_put_on_does_not_matter(world: World) -> None:
    world.server.fault = refusing(403, "Resource not accessible by integration", at="/labels")
    assert (await world.host().open_revert(world.wish)).where.endswith("/pull/1")


async def test_a_repository_that_is_not_there_is_a_setting_to_mend(world: World) -> None:
    host = GitHub("example/nothing", lambda: TOKEN, url=world.server.url, clock=world.clock, pace_s=0)
    with pytest.raises(Misconfigured, match="APX_GITHUB_REPOSITORY"):
        await host.open_revert(world.wish)


async def test_what_github_says_of_a_field_is_in_the_message(world: World) -> None:
    def fault(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/pulls"):
            raise Refusal(
                422, {"message": "Validation Failed", "errors": [{"message": "No commits between main and x"}]}
            )

    world.server.fault = fault
    with pytest.raises(Misconfigured, match="No commits between"):
        await world.host().open_revert(world.wish)


@pytest.mark.parametrize(
    ("status", "message", "headers", "wait_s"),
    [
        (403, "You have exceeded a secondary rate limit", {"retry-after": "17"}, 17),
        (429, "Too many requests", {"retry-after": "17"}, 17),
        (503, "busy", {"retry-after": "17"}, 17),
        (403, "You have exceeded a secondary rate limit", {}, 60),
        (403, "API rate limit exceeded", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030"}, 31),
        (403, "API rate limit exceeded", {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1699999000"}, 1),
        (403, "API rate limit exceeded", {"retry-after": "999999999"}, 3600),
        (500, "oops", {}, 1),
    ],
)
async def test_a_plea_for_patience_says_for_how_long(
    world: World, status: int, message: str, headers: dict[str, str], wait_s: int
) -> None:
    world.server.fault = refusing(status, message, headers)
    with pytest.raises(Unavailable) as raised:
        await world.host().open_revert(world.wish)
    assert raised.value.retry_after_s == wait_s


async def test_a_limited_host_is_asked_once(world: World) -> None:
    world.server.fault = refusing(403, "API rate limit exceeded", {"retry-after": "17"})
    with pytest.raises(Unavailable):
        await world.host().open_revert(world.wish)
    assert len(world.server.asked) == 1


async def test_a_host_that_takes_too_long_is_unavailable(world: World) -> None:
    world.server.fault = slow(1.5)
    with pytest.raises(Unavailable, match="does not answer"):
        await world.host(timeout_s=1).open_revert(world.wish)


async def test_a_revert_that_takes_too_long_as_a_whole_is_unavailable(world: World) -> None:
    world.server.fault = slow(0.3)
    with pytest.raises(Unavailable, match="took over"):
        await world.host(total_s=0.2, timeout_s=1).open_revert(world.wish)


async def test_nobody_at_the_address_is_unavailable(world: World) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await world.host(url="http://127.0.0.1:1").open_revert(world.wish)


async def test_an_answer_that_is_not_githubs_is_unavailable(world: World) -> None:
    def fault(_method: str, _path: str) -> None:
        raise Refusal(200, {"hello": "of a proxy"})

    world.server.fault = fault
    with pytest.raises(Unavailable, match="cannot be read"):
        await world.host().open_revert(world.wish)


@pytest.mark.parametrize("status", [401, 403, 404, 422, 500])
async def test_the_token_is_in_no_message_and_no_log(
    world: World, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    world.server.fault = refusing(status, f"what is {TOKEN}?", at="GET")
    with pytest.raises(ApxError) as raised:
        await world.host().open_revert(world.wish)
    told = str(raised.value) + repr(raised.value.__cause__)
    assert TOKEN not in told
    # A log of answers would hold what the server itself says; what we send is masked.
    assert not [line for line in caplog.messages if TOKEN in line.replace(f"what is {TOKEN}?", "")]
