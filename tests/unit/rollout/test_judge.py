from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.catalog.model import Judge
from apx.rollout.counts import Counts
from apx.rollout.judge import Observed, judge, tolerated
from apx.rollout.model import Evidence, Outcome, Verdict

ORGS = tuple(f"org-{number}" for number in range(8))
FAST, SLOW = 24, 40
"""Buckets of latency."""
ALL_OFF = dict.fromkeys(Judge.__struct_fields__, 100.0)


def served(
    requests: int = 2000,
    *,
    errors: float = 0.01,
    slow: float = 0.05,
    newly_denied: float = 0.0,
    denied: float = 0.02,
    compared: float = 1.0,
    failures: float = 0.0,
) -> Counts:
    """Return what was seen of an org; shares of its requests, `errors` and `slow` of its answers."""
    refused = round(requests * (denied + newly_denied))
    answers = requests - refused
    return Counts(
        requests=requests,
        denied=refused,
        compared=round(refused * compared),
        newly_denied=round(requests * newly_denied * compared),
        policy_failures=round(requests * failures),
        answers=answers,
        errors=round(answers * errors),
        latency={FAST: answers - round(answers * slow), SLOW: round(answers * slow)},
    )


def each(counts: Counts, orgs: tuple[str, ...] = ORGS) -> dict[str, Counts]:
    return dict.fromkeys(orgs, counts)


STABLE = {f"other-{number}": served() for number in range(8)}
BEFORE = each(served(10_000)) | dict.fromkeys(STABLE, served(10_000))


def judged(
    candidate: Mapping[str, Counts],
    *,
    stable: Mapping[str, Counts] = STABLE,
    before: Mapping[str, Counts] = BEFORE,
    carried: Mapping[str, Counts] | None = None,
    weight: float = 50,
    limits: Mapping[str, float] | None = None,
) -> Verdict:
    observed = Observed(candidate=candidate, stable=stable, before=before, carried=carried or {})
    return judge(Judge(**(limits or {})), observed, weight_percent=weight, last_weight_percent=50, last=weight == 50)


def of(verdict: Verdict, measure: str) -> Evidence:
    (found,) = [one for one in verdict.evidence if one.measure == measure]
    return found


def test_a_candidate_that_is_as_good_passes_on_every_measure() -> None:
    verdict = judged(each(served()))
    assert verdict.outcome == "pass"
    assert {one.measure: one.says for one in verdict.evidence} == dict.fromkeys(
        ("errors", "latency", "denials", "policy-failures"), "pass"
    )


def test_more_errors_in_every_org_fail() -> None:
    verdict = judged(each(served(errors=0.06)))
    assert verdict.outcome == "fail"
    assert of(verdict, "errors").says == "fail"


def test_the_reason_of_a_failure_gives_the_figures_that_decided() -> None:
    reason = judged(each(served(errors=0.06))).reason
    assert reason.startswith("errors: candidate 6.0 % (")
    assert "stable 1.0 % (" in reason
    assert reason.endswith(": more than 2.0 points above")


def test_one_noisy_org_does_not_decide_for_the_others() -> None:
    verdict = judged(each(served()) | {"org-0": served(20_000, errors=0.15)})
    assert verdict.outcome == "inconclusive"


def test_an_org_that_always_fails_a_lot_is_held_against_its_own_past() -> None:
    noisy = {"org-0": served(20_000, errors=0.15)}
    assert judged(each(served()) | noisy, before=BEFORE | noisy).outcome == "pass"


def test_an_org_for_which_the_candidate_is_broken_decides_alone() -> None:
    verdict = judged(each(served()) | {"org-3": served(30, errors=0.9)})
    assert (verdict.outcome, of(verdict, "errors").org) == ("fail", "org-3")
    assert "errors of org org-3" in verdict.reason


def test_the_only_org_of_a_candidate_decides_only_by_being_broken() -> None:
    assert judged({"org-0": served(errors=0.1)}).outcome == "inconclusive"
    assert judged({"org-0": served(errors=0.6)}).outcome == "fail"


def test_a_burst_that_triples_the_errors_of_a_noisy_org_does_not_decide() -> None:
    before = BEFORE | {"org-0": served(10_000, errors=0.15)}
    assert judged(each(served()) | {"org-0": served(errors=0.45)}, before=before).outcome == "inconclusive"


def test_an_outage_of_the_backend_neither_fails_nor_passes() -> None:
    verdict = judged(each(served(errors=0.3)), stable=dict.fromkeys(STABLE, served(errors=0.3)))
    assert verdict.outcome == "inconclusive"
    assert "the stable release has 30.0 % instead of 1.0 % as well" in verdict.reason


def test_a_candidate_that_is_worse_than_an_outage_fails() -> None:
    verdict = judged(each(served(errors=0.5)), stable=dict.fromkeys(STABLE, served(errors=0.1)))
    assert verdict.outcome == "fail"


def test_errors_over_the_absolute_limit_fail_where_nothing_is_known_of_the_past() -> None:
    verdict = judged(each(served(errors=0.4)), before={}, limits={"more_errors_percent": 100})
    assert verdict.outcome == "fail"
    assert verdict.reason.endswith("over 25.0 %")


def test_errors_over_the_absolute_limit_do_not_fail_while_the_stable_release_is_over_it_too() -> None:
    stable = dict.fromkeys(STABLE, served(errors=0.4))
    assert (
        judged(each(served(errors=0.4)), stable=stable, limits={"more_errors_percent": 100}).outcome == "inconclusive"
    )


def test_the_only_org_decides_by_the_absolute_limit_when_it_is_broken() -> None:
    assert judged({"org-0": served(errors=0.9)}, limits={"more_errors_percent": 100}).outcome == "fail"


def test_a_slower_candidate_fails() -> None:
    verdict = judged(each(served(slow=0.3)))
    assert (verdict.outcome, of(verdict, "latency").says) == ("fail", "fail")


def test_a_backend_that_is_slow_for_both_does_not_fail() -> None:
    slow = served(slow=0.4)
    assert judged(each(slow), stable=dict.fromkeys(STABLE, slow)).outcome == "inconclusive"


def test_new_denials_fail() -> None:
    verdict = judged(each(served(newly_denied=0.03)))
    assert (verdict.outcome, of(verdict, "denials").says) == ("fail", "fail")


def test_denials_that_the_stable_policy_makes_too_pass() -> None:
    assert judged(each(served(denied=0.5))).outcome == "pass"


def test_an_org_that_is_locked_out_by_the_policy_decides_alone() -> None:
    verdict = judged(each(served(10_000)) | {"org-5": served(15, newly_denied=1.0, denied=0.0)})
    assert (verdict.outcome, of(verdict, "denials").org) == ("fail", "org-5")


def test_denials_that_were_not_put_to_the_stable_policy_neither_fail_nor_pass() -> None:
    assert of(judged(each(served(denied=0.5, compared=0.0))), "denials").says == "inconclusive"


def test_the_denials_that_were_compared_speak_for_the_others() -> None:
    seen = of(judged(each(served(newly_denied=0.2, denied=0.0, compared=0.25))), "denials")
    assert (seen.says, seen.candidate.events) == ("fail", 3200)


def test_policy_failures_fail() -> None:
    verdict = judged(each(served(newly_denied=0.02, failures=0.02)), limits={"new_denials_percent": 100})
    assert (verdict.outcome, of(verdict, "policy-failures").says) == ("fail", "fail")


def test_policy_failures_do_not_count_where_the_stable_policy_denies() -> None:
    assert judged(each(served(denied=0.05, failures=0.02))).outcome == "pass"


@pytest.mark.parametrize(
    ("limit", "candidate"),
    [
        ("more_slow_percent", served(slow=0.9)),
        ("new_denials_percent", served(newly_denied=0.2)),
        ("policy_failures_percent", served(failures=0.2)),
    ],
)
def test_a_limit_of_100_switches_its_measure_off(limit: str, candidate: Counts) -> None:
    assert judged(each(candidate), limits={limit: 100}).outcome == "pass"


def test_errors_are_not_measured_without_either_of_their_limits() -> None:
    verdict = judged(each(served(errors=0.9)), limits={"errors_percent": 100, "more_errors_percent": 100})
    assert verdict.outcome == "pass"


@pytest.mark.parametrize(("weight", "limit"), [(5, 0.2), (25, 0.04), (50, 0.02), (0.1, 0.25)])
def test_the_tolerance_of_a_step_is_the_larger_the_fewer_it_exposes(weight: float, limit: float) -> None:
    assert tolerated(0.02, weight, 50) == pytest.approx(limit)


def test_no_step_tolerates_less_than_the_limit() -> None:
    assert tolerated(0.4, 5, 50) == 0.4


def test_a_small_step_passes_what_the_last_one_does_not() -> None:
    few = each(served(100))
    assert (judged(few, weight=5).outcome, judged(few).outcome) == ("pass", "inconclusive")


def test_what_is_over_the_last_limit_for_certain_fails_in_the_first_step() -> None:
    assert judged(each(served(errors=0.06)), weight=5).outcome == "fail"


def test_nothing_seen_is_never_a_pass() -> None:
    verdict = judged({})
    assert (verdict.outcome, verdict.reason) == ("inconclusive", "errors: no answer of the backend seen yet")


def test_requests_that_never_reach_the_backend_are_waited_for_by_name() -> None:
    verdict = judged(each(Counts(requests=1000, denied=1000, compared=1000)))
    assert [one.says for one in verdict.evidence] == ["inconclusive", "inconclusive", "pass", "pass"]
    assert of(verdict, "latency").text == "latency: no answer of the backend seen yet"


def test_the_reason_says_how_many_answers_are_waited_for() -> None:
    reason = judged(each(served(50, errors=0.02))).reason
    assert reason == "errors: 392 of about 1100 answers seen"


def test_nothing_passes_by_comparison_with_a_past_that_is_not_known() -> None:
    assert of(judged(each(served()), stable={}, before={}), "latency").says == "inconclusive"


def test_an_org_without_a_past_is_expected_to_be_like_the_others() -> None:
    newcomers = each(served(), tuple(f"new-{number}" for number in range(40)))
    assert of(judged(newcomers), "errors").says == "pass"


def test_earlier_steps_add_to_the_evidence_of_the_last() -> None:
    few = each(served(60))
    assert of(judged(few), "denials").says == "inconclusive"
    assert of(judged(few, carried=few), "denials").says == "pass"


def test_policy_failures_are_waited_for_where_new_denials_do_not_cover_them() -> None:
    few = each(served(60))
    assert of(judged(few), "policy-failures").says == "pass"
    assert of(judged(few, limits={"policy_failures_percent": 0.5}), "policy-failures").says == "inconclusive"
    assert of(judged(few, limits={"new_denials_percent": 100}), "policy-failures").says == "inconclusive"


def test_earlier_steps_never_outweigh_the_last() -> None:
    few, many = each(served(60)), each(served(5000))
    assert of(judged(few, carried=many), "denials").says == "inconclusive"


def count(most: int = 3000) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 30), st.integers(0, most))


@st.composite
def some_counts(draw: st.DrawFn) -> Counts:
    requests = draw(count())
    denied = min(requests, draw(count()))
    compared = min(denied, draw(count()))
    latency = draw(st.dictionaries(st.integers(0, 100), st.integers(1, 1000), max_size=4))
    answers = sum(latency.values())
    return Counts(
        requests=requests,
        denied=denied,
        compared=compared,
        newly_denied=min(compared, draw(count())),
        policy_failures=min(denied, draw(count())),
        answers=answers,
        errors=min(answers, draw(count())),
        latency=latency,
    )


arms = st.dictionaries(st.sampled_from(ORGS), some_counts(), max_size=5)


@given(arms, arms, arms, arms, st.sampled_from([1.0, 25.0, 50.0]))
def test_every_count_has_a_verdict_in_lines_and_none_passes_without_data(
    candidate: dict[str, Counts],
    stable: dict[str, Counts],
    before: dict[str, Counts],
    carried: dict[str, Counts],
    weight: float,
) -> None:
    verdict = judged(candidate, stable=stable, before=before, carried=carried, weight=weight)
    for text in (verdict.reason, *(one.text for one in verdict.evidence)):
        assert text
        assert "\n" not in text
    for one in verdict.evidence:
        assert 0 <= one.candidate.low <= one.candidate.high <= 1
        if one.says != "inconclusive":
            assert one.candidate.requests
    outcomes: dict[Outcome, bool] = {
        "fail": any(one.says == "fail" for one in verdict.evidence),
        "pass": all(one.says == "pass" for one in verdict.evidence),
    }
    assert outcomes.get(verdict.outcome, not any(outcomes.values()))


@given(arms, arms, arms)
def test_with_every_limit_off_there_is_nothing_to_wait_for(
    candidate: dict[str, Counts], stable: dict[str, Counts], before: dict[str, Counts]
) -> None:
    assert judged(candidate, stable=stable, before=before, limits=ALL_OFF).evidence == ()
