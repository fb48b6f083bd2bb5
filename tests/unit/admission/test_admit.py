from __future__ import annotations

import json
from typing import Any

import pytest

from apx.admission.admit import Admitted, Call, LiveProduct, Refused, conclude, judge, levels
from apx.admission.keys import KeyRecord
from apx.admission.orgs import NO_TERMS
from apx.admission.routes import Match
from apx.catalog.model import PlanSpec, PolicyRef, Rate, Route
from apx.clock import ManualClock
from apx.limits.bucket import Buckets
from apx.limits.leases import Answer
from apx.policy.decision import Decision
from tests.unit.release.examples import FREE, release, spec


class Says:
    """A policy that answers what it is told to, and keeps what it was shown."""

    def __init__(self, decision: Decision | None = None) -> None:
        self.decision = decision or Decision(allow=True, reason="ok")
        self.shown: list[bytes] = []

    @property
    def evaluated(self) -> int:
        return len(self.shown)

    def decide(self, input_json: bytes) -> Decision:
        self.shown.append(input_json)
        return self.decision

    def close(self) -> None:
        pass

    @property
    def last(self) -> Any:
        return json.loads(self.shown[-1])


def key(**changes: Any) -> KeyRecord:
    fields: dict[str, Any] = {
        "id": "key_1",
        "sha256": "0",
        "org": "acme",
        "region": "eu",
        "plans": {"orders": "free"},
        "created_ms": 0,
    }
    return KeyRecord(**{**fields, **changes})


class Desk:
    """One product, one policy, one set of buckets."""

    def __init__(self, says: Says, plans: dict[str, PlanSpec] | None = None, **changes: Any) -> None:
        self.policy = says
        self.live = LiveProduct(release(of=spec(**changes), plans=plans), says)
        self.buckets = Buckets(ManualClock())

    def judge(
        self, method: str = "POST", path: str = "/", by: KeyRecord | None = None, **call: Any
    ) -> Admitted | Refused:
        match = self.live.routes.match(method, path)
        assert isinstance(match, Match)
        fields: dict[str, Any] = {"query": "", "headers": {}, "client_ip": "192.0.2.1"}
        whole = Call(method=method, path=path, **{**fields, **call})
        caller = by or key()
        judged = judge(self.live, match, caller, whole, self.live.decide)
        if isinstance(judged, Refused):
            return judged
        [level] = levels(self.live, judged, NO_TERMS, 0.0, lambda _: 0.0)
        assert isinstance(level.rate, Rate)
        taken = self.buckets.take(level.bucket, level.rate, judged.decision.cost)
        return conclude(self.live, judged, Answer(level, taken))


def code(answer: Admitted | Refused) -> tuple[int, str] | None:
    return (answer.status, answer.code) if isinstance(answer, Refused) else None


BODY = PolicyRef(package="p", body=True)


def test_a_known_caller_on_a_known_route_is_admitted() -> None:
    answer = Desk(Says()).judge()
    assert isinstance(answer, Admitted)
    assert (answer.plan, answer.limit.taken.remaining) == ("free", 999)


def test_a_key_for_other_products_is_refused_before_the_policy_sees_it() -> None:
    policy = Says()
    assert code(Desk(policy).judge(by=key(plans={"other": "free"}))) == (403, "product-not-entitled")
    assert policy.shown == []


def test_a_plan_that_is_not_offered_is_refused() -> None:
    assert code(Desk(Says()).judge(by=key(plans={"orders": "gold"}))) == (403, "plan-not-offered")


def test_a_body_over_the_routes_bound_is_refused() -> None:
    desk = Desk(Says(), routes=(Route(path="/", max_body_bytes=4),))
    assert code(desk.judge(body=b"12345")) == (413, "body-too-large")


def test_a_body_over_the_plans_bound_is_refused() -> None:
    desk = Desk(Says(), plans={"free": PlanSpec(title="F", rate=FREE.rate, max_body_bytes=4)})
    assert code(desk.judge(body=b"12345")) == (413, "body-too-large")


def test_a_deny_is_the_policys_reason_and_detail() -> None:
    answer = Desk(Says(Decision(allow=False, reason="closed", detail="We are closed."))).judge()
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code, answer.detail, answer.policy_failed) == (403, "closed", "We are closed.", False)


def test_a_policy_that_fails_refuses_without_saying_why() -> None:
    answer = Desk(Says(Decision(allow=False, reason="policy-trap", detail="secret", failed=True))).judge()
    assert isinstance(answer, Refused)
    assert (answer.status, answer.policy_failed) == (403, True)
    assert "secret" not in answer.detail


def test_a_deny_costs_nothing() -> None:
    desk = Desk(Says(Decision(allow=False, reason="no")))
    desk.judge()
    desk.policy.decision = Decision(allow=True, reason="ok")
    answer = desk.judge()
    assert isinstance(answer, Admitted)
    assert answer.limit.taken.remaining == 999


def test_the_decisions_cost_is_taken() -> None:
    answer = Desk(Says(Decision(allow=True, reason="ok", cost=100))).judge()
    assert isinstance(answer, Admitted)
    assert answer.limit.taken.remaining == 900


def test_a_used_up_rate_says_when_to_come_back() -> None:
    desk = Desk(Says(), plans={"free": PlanSpec(title="F", rate=Rate(per_second=0.1, burst=1))})
    desk.judge()
    answer = desk.judge()
    assert isinstance(answer, Refused)
    assert (answer.status, answer.code, answer.retry_after_s) == (429, "quota-exceeded", 10)


def test_a_cost_that_never_fits_names_no_time() -> None:
    answer = Desk(Says(Decision(allow=True, reason="ok", cost=1e9))).judge()
    assert isinstance(answer, Refused)
    assert (answer.status, answer.retry_after_s) == (429, None)


def test_each_key_has_its_own_rate() -> None:
    desk = Desk(Says(), plans={"free": PlanSpec(title="F", rate=Rate(per_second=0.1, burst=1))})
    assert code(desk.judge(by=key(id="key_1"))) is None
    assert code(desk.judge(by=key(id="key_1"))) == (429, "quota-exceeded")
    assert code(desk.judge(by=key(id="key_2"))) is None


def test_the_policy_is_shown_the_whole_request() -> None:
    policy = Says()
    Desk(policy, policy=PolicyRef(package="p", headers=("x-tier",))).judge(
        "GET", "/7", query="a=1&a=2&b=%C3%A9&c", headers={"x-tier": "gold", "x-api-key": "SECRET"}
    )
    assert policy.last == {
        "org": "acme",
        "region": "eu",
        "product": "orders",
        "plan": "free",
        "key": {"id": "key_1"},
        "request": {
            "method": "GET",
            "route": "/{id}",
            "path": "/7",
            "params": {"id": "7"},
            "query": {"a": ["1", "2"], "b": ["é"], "c": [""]},
            "headers": {"x-tier": "gold"},
            "client_ip": "192.0.2.1",
        },
    }


def test_the_policy_sees_parameters_decoded() -> None:
    policy = Says()
    Desk(policy).judge("GET", "/a%20b%C3%A9")
    assert policy.last["request"]["params"] == {"id": "a bé"}


def test_the_policy_sees_the_claims_that_the_edge_verified() -> None:
    policy = Says()
    Desk(policy).judge(claims=b'{"sub":"me"}')
    assert policy.last["claims"] == {"sub": "me"}


def test_the_policy_sees_the_body_when_it_asks_for_it() -> None:
    policy = Says()
    Desk(policy, policy=BODY).judge(body=b' {"n":[1]} ')
    assert policy.last["body"] == {"n": [1]}


def test_a_policy_that_does_not_ask_for_the_body_takes_any() -> None:
    policy = Says()
    assert code(Desk(policy).judge(body=b"\xff\0", headers={"content-type": "image/png"})) is None
    assert "body" not in policy.last


def test_a_request_without_a_body_has_none() -> None:
    policy = Says()
    Desk(policy, policy=BODY).judge()
    assert "body" not in policy.last


@pytest.mark.parametrize("body", [b"{", b'{"a":1,"a":2}', b'1,"org":"evil"', b'{}}{"org":"evil"', b"\xff"])
def test_a_body_cannot_reach_out_of_its_place(body: bytes) -> None:
    policy = Says()
    assert code(Desk(policy, policy=BODY).judge(body=body)) == (400, "body-invalid")
    assert policy.shown == []


def test_a_body_of_another_type_is_refused() -> None:
    desk = Desk(Says(), policy=BODY)
    assert code(desk.judge(body=b"{}", headers={"content-type": "text/plain"})) == (415, "body-not-json")


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "\xff", ""])
def test_a_body_that_the_backend_would_decode_is_not_judged_undecoded(coding: str) -> None:
    policy = Says()
    assert code(Desk(policy, policy=BODY).judge(body=b"{}", headers={"content-encoding": coding})) == (
        415,
        "body-encoded",
    )
    assert policy.shown == []


def test_a_body_that_says_it_is_not_encoded_is_judged() -> None:
    assert code(Desk(Says(), policy=BODY).judge(body=b"{}", headers={"content-encoding": "Identity"})) is None


def test_an_encoded_body_that_no_policy_reads_passes() -> None:
    assert code(Desk(Says()).judge(body=b"{}", headers={"content-encoding": "gzip"})) is None


@pytest.mark.parametrize("query", ["a=%FF", "a=%C3", "%80=1", "&".join(["a=1"] * 257), "a=caf\xe9", "a=\x01"])
def test_a_query_with_several_readings_is_refused(query: str) -> None:
    policy = Says()
    assert code(Desk(policy).judge(query=query)) == (400, "query-invalid")
    assert policy.shown == []
