"""Two releases of a product side by side: who serves whom, and what is counted of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apx.admission.admit import LiveProduct
from apx.catalog.model import RolloutSpec, Route, Shadow
from apx.policy.decision import Decision
from apx.rollout.active import Active
from apx.rollout.arms import Arms
from apx.rollout.counts import Counts
from apx.rollout.model import Rollout
from tests.unit.release.examples import release, spec
from tests.unit.router.desk import Desk, Says

ALLOW, DENY = Decision(allow=True, reason="ok"), Decision(allow=False, reason="closed")
ROUTES = (Route(path="/", methods=("GET", "POST")), Route(path="/{id}"))


class Two:
    """Orders, under a stable release and a candidate, each with a policy of its own."""

    def __init__(self, desk: Desk, weight_percent: float = 0.0, **candidate: Any) -> None:
        self.desk = desk
        self.policies = Says(desk.clock), Says(desk.clock)
        wanted = {"routes": ROUTES, "title": "Orders, next", **candidate}
        self.stable = LiveProduct(release("orders", spec(routes=ROUTES)), self.policies[0])
        self.candidate = LiveProduct(release("orders", spec(**wanted)), self.policies[1])
        self.rollout = Rollout(
            id="r",
            candidate=self.candidate.digest,
            stable=self.stable.digest,
            spec=RolloutSpec(shadow=Shadow(share_percent=50)),
            state="canary",
        )
        self.serve(weight_percent)

    def serve(self, weight_percent: float, **changes: Any) -> None:
        rollout = msgspec.structs.replace(self.rollout, weight_percent=weight_percent, **changes)
        active = Active(product="orders", stable=self.stable.digest, rollout=rollout)
        arms = Arms(active=active, stable=self.stable, stable_digest=self.stable.digest, candidate=self.candidate)
        self.desk.router.serve({"orders": arms})

    def say(self, stable: Decision, candidate: Decision) -> None:
        self.policies[0].decision, self.policies[1].decision = stable, candidate

    async def release_of_next(self, **headers: str) -> str:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.desk.ask("POST", "/orders", self.desk.headers | fields, body=b"{}")
        assert answer.status == 202, answer
        return str(answer.json["release"])

    def counts(self, live: LiveProduct, org: str = "acme") -> Counts:
        return self.desk.tally.of("orders", live.digest, org)


@pytest.mark.parametrize(("weight", "arm"), [(0.0, "stable"), (100.0, "candidate")])
async def test_the_weight_says_which_release_admits(desk: Desk, weight: float, arm: str) -> None:
    two = Two(desk, weight)
    wanted = two.stable if arm == "stable" else two.candidate
    assert await two.release_of_next() == wanted.digest
    assert desk.bus.published[-1].release == wanted.digest


async def test_orgs_part_at_a_weight_between_and_each_stays_where_it_is(desk: Desk) -> None:
    two = Two(desk, 50.0)
    first = {}
    for number in range(20):
        key = await desk.give(f"org-{number}")
        first[key] = await two.release_of_next(x_api_key=key)
    assert set(first.values()) == {two.stable.digest, two.candidate.digest}
    assert {key: await two.release_of_next(x_api_key=key) for key in first} == first


async def test_a_route_that_only_the_candidate_has_is_there_for_its_orgs_alone(desk: Desk) -> None:
    two = Two(desk, 100.0, routes=(*ROUTES, Route(path="/{id}/lines", methods=("POST",))))
    assert (await desk.ask("POST", "/orders/1/lines", desk.headers, body=b"{}")).status == 202
    two.serve(0.0)
    assert (await desk.ask("POST", "/orders/1/lines", desk.headers, body=b"{}")).code == "not-found"


async def test_a_route_that_the_candidate_lacks_is_a_new_denial(desk: Desk) -> None:
    two = Two(desk, 100.0, routes=(Route(path="/", methods=("GET", "POST")),))
    assert (await desk.ask("GET", "/orders/1", desk.headers)).code == "not-found"
    counts = two.counts(two.candidate)
    assert (counts.requests, counts.denied, counts.compared, counts.newly_denied) == (1, 1, 1, 1)


async def test_a_stranger_learns_nothing_of_either_release(desk: Desk) -> None:
    Two(desk, 100.0, routes=(*ROUTES, Route(path="/{id}/lines", methods=("POST",))))
    assert (await desk.ask("POST", "/orders/1/lines", {}, body=b"{}")).code == "unauthenticated"


@pytest.mark.parametrize(("stable", "newly"), [(ALLOW, 1), (DENY, 0)])
async def test_a_denial_of_the_candidate_is_put_to_the_stable_release(desk: Desk, stable: Decision, newly: int) -> None:
    two = Two(desk, 100.0)
    two.say(stable, DENY)
    assert (await desk.ask("POST", "/orders", desk.headers, body=b"{}")).code == "closed"
    counts = two.counts(two.candidate)
    assert (counts.denied, counts.compared, counts.newly_denied) == (1, 1, newly)
    assert two.counts(two.stable) == Counts(latency={})


async def test_what_a_limit_refuses_is_no_denial(desk: Desk) -> None:
    two = Two(desk, 100.0)
    two.say(ALLOW, msgspec.structs.replace(ALLOW, cost=1e9))
    assert (await desk.ask("POST", "/orders", desk.headers, body=b"{}")).status == 429
    counts = two.counts(two.candidate)
    assert (counts.requests, counts.denied, counts.compared) == (1, 0, 0)


@pytest.mark.parametrize(
    ("stable", "candidate", "field"),
    [
        (ALLOW, DENY, "shadow_newly_denied"),
        (DENY, ALLOW, "shadow_newly_admitted"),
        (ALLOW, msgspec.structs.replace(ALLOW, headers={"x-tier": "gold"}), "shadow_other"),
        (ALLOW, Decision(allow=False, reason="policy-trap", failed=True), "shadow_failed"),
    ],
)
async def test_a_shadow_counts_what_the_candidate_would_have_said(
    desk: Desk, stable: Decision, candidate: Decision, field: str
) -> None:
    two = Two(desk)
    two.serve(0.0, state="shadow")
    two.say(stable, candidate)
    answer = await desk.ask("POST", "/orders", desk.headers, body=b"{}")
    counts = two.counts(two.candidate)
    assert (counts.shadowed, getattr(counts, field), counts.requests) == (1, 1, 0)
    assert answer.status == (202 if stable.allow else 403)


async def test_a_shadow_looks_at_its_share_alone(desk: Desk) -> None:
    two = Two(desk)
    desk.chance = 0.5
    await two.release_of_next()
    assert two.counts(two.candidate).shadowed == 0


async def test_a_shadow_over_its_budget_looks_at_less_and_says_so(desk: Desk) -> None:
    two = Two(desk)
    two.policies[1].takes_s = 1.0
    for _ in range(3):
        await two.release_of_next()
    counts = two.counts(two.candidate)
    assert (counts.shadowed, counts.shadow_skipped) == (1, 2)


async def test_a_tester_chooses_an_arm_and_is_not_counted(desk: Desk) -> None:
    two = Two(desk)
    token = desk.arm_tokens.mint("orders", "candidate", int(desk.clock.time()) + 60)
    assert await two.release_of_next(apx_arm=token) == two.candidate.digest
    assert two.counts(two.candidate).requests == 0
    assert "apx-arm" not in dict(desk.bus.published[-1].headers)


@pytest.mark.parametrize("wish", ["candidate", "orders.candidate.9999999999.AAAA", "", "files"])
async def test_a_wish_that_is_not_genuine_is_refused(desk: Desk, wish: str) -> None:
    Two(desk)
    wish = desk.arm_tokens.mint("files", "candidate", int(desk.clock.time()) + 60) if wish == "files" else wish
    answer = await desk.ask("POST", "/orders", desk.headers | {"apx-arm": wish}, body=b"{}")
    assert (answer.status, answer.code) == (400, "arm-invalid")


async def test_a_wish_that_has_expired_is_refused(desk: Desk) -> None:
    Two(desk)
    token = desk.arm_tokens.mint("orders", "candidate", int(desk.clock.time()) + 60)
    desk.clock.advance(61)
    assert (await desk.ask("POST", "/orders", desk.headers | {"apx-arm": token}, body=b"{}")).code == "arm-invalid"


async def test_without_a_rollout_requests_are_counted_under_what_serves(desk: Desk) -> None:
    await desk.ask("POST", "/orders", desk.headers, body=b"{}")
    assert desk.tally.of("orders", desk.products["orders"].digest, "acme").requests == 1
