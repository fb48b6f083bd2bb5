from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.policy.decision import Decision
from apx.policy.replay import Kind, Outcome, Replayed, Side, as_recorded, kind_of, replay
from apx.policy.sample import Sample

BASE = "sha256:base"
OK = Decision(allow=True, reason="ok")


def said(decision: Decision) -> Outcome:
    return Outcome(allow=decision.allow, reason=decision.reason, decision=decision)


def denied(reason: str, *, failed: bool = False) -> Outcome:
    return said(Decision(allow=False, reason=reason, failed=failed))


ALLOWED = said(OK)
NO_ROUTE = Outcome(allow=False, reason="not-found", stage="route")
TOO_LARGE = Outcome(allow=False, reason="body-too-large", stage="limits")


def sample(org: str = "acme", *, allow: bool = True, reason: str = "ok", release: str = BASE) -> Sample:
    return Sample(
        at_ms=0,
        product="orders",
        release=release,
        org=org,
        route="/",
        method="GET",
        allow=allow,
        reason=reason,
        input=msgspec.Raw(json.dumps({"org": org}).encode()),
    )


def run(samples: list[Sample], before: Outcome | Side, after: Outcome | Side) -> Replayed:
    was: Side = before if callable(before) else lambda _: before
    now: Side = after if callable(after) else lambda _: after
    return replay(samples, was, now, before_release=BASE)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (ALLOWED, ALLOWED, None),
        (ALLOWED, denied("no"), "newly-denied"),
        (ALLOWED, denied("policy-trap", failed=True), "newly-denied"),
        (ALLOWED, NO_ROUTE, "route-lost"),
        (denied("no"), NO_ROUTE, "route-lost"),
        (ALLOWED, TOO_LARGE, "newly-refused"),
        (denied("no"), ALLOWED, "newly-allowed"),
        (NO_ROUTE, ALLOWED, "newly-allowed"),
        (denied("no"), denied("never"), "reason"),
        (ALLOWED, said(Decision(allow=True, reason="fine")), "reason"),
        (ALLOWED, said(Decision(allow=True, reason="ok", cost=2)), "obligations"),
        (ALLOWED, said(Decision(allow=True, reason="ok", headers={"x-tier": "gold"})), "obligations"),
        (denied("no"), said(Decision(allow=False, reason="no", cost=2)), None),
        (Outcome(allow=True, reason="ok"), said(Decision(allow=True, reason="ok", cost=2)), None),
    ],
)
def test_two_outcomes_differ_in_one_way(before: Outcome, after: Outcome, kind: Kind | None) -> None:
    assert kind_of(before, after) == kind


def test_flips_are_counted_by_org_and_route() -> None:
    found = run(
        [sample("acme"), sample("acme"), sample("globex"), sample("initech")],
        ALLOWED,
        lambda one: ALLOWED if one.org == "initech" else denied("no"),
    )
    assert (found.compared, found.unchanged, found.flips) == (4, 1, 3)
    assert found.by_org == {"acme": {"newly-denied": 2}, "globex": {"newly-denied": 1}}
    assert found.by_route == {"GET /": {"newly-denied": 3}}
    assert [example.sample.org for example in found.examples] == ["acme"]


def test_other_reasons_and_headers_are_no_flips() -> None:
    found = run([sample()], ALLOWED, said(Decision(allow=True, reason="ok", cost=3)))
    assert (found.flips, found.changes) == (0, {"obligations": 1})


def test_an_input_that_its_own_release_decides_otherwise_now_is_not_counted() -> None:
    found = run([sample(), sample(release="sha256:older")], denied("masked"), ALLOWED)
    assert (found.not_reproduced, found.not_reproduced_but_differ, found.compared) == (1, 1, 1)
    assert (found.other_releases, found.changes) == (1, {"newly-allowed": 1})


def test_a_policy_that_begins_to_fail_is_said() -> None:
    found = run([sample()], ALLOWED, denied("policy-trap", failed=True))
    assert found.policy_failures == 1


def test_a_policy_that_runs_out_of_time_again_and_again_is_left() -> None:
    found = run([sample() for _ in range(60)], ALLOWED, denied("policy-timeout", failed=True))
    assert (found.compared, found.not_tried) == (50, 10)


DECISIONS = st.builds(
    Decision,
    allow=st.booleans(),
    reason=st.sampled_from(["ok", "no"]),
    cost=st.floats(0, 10),
    headers=st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.text(max_size=2)),
)


@given(st.lists(DECISIONS, max_size=20))
def test_a_policy_against_itself_changes_nothing(decisions: list[Decision]) -> None:
    samples = [sample(str(at), allow=one.allow, reason=one.reason) for at, one in enumerate(decisions)]
    found = run(samples, lambda one: said(decisions[int(one.org)]), lambda one: said(decisions[int(one.org)]))
    assert (found.unchanged, found.changes, found.not_reproduced) == (len(decisions), {}, 0)
    again = replay(samples, as_recorded, lambda one: said(decisions[int(one.org)]), before_release=None)
    assert again.changes == {}


@given(st.lists(st.tuples(DECISIONS, DECISIONS), max_size=20))
def test_every_input_is_counted_once(pairs: list[tuple[Decision, Decision]]) -> None:
    samples = [sample(str(at), allow=True, reason="ok") for at in range(len(pairs))]
    found = run(samples, lambda one: said(pairs[int(one.org)][0]), lambda one: said(pairs[int(one.org)][1]))
    assert found.inputs == found.compared + found.not_reproduced + found.not_tried
    assert found.compared == found.unchanged + sum(found.changes.values())
