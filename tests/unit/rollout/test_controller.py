"""What moves a rollout on, and what does not: from its record, a verdict and the store's clock alone."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.catalog.model import Freeze, RolloutSpec, Shadow, Step
from apx.rollout.controller import next_movement
from apx.rollout.model import UNDER_WAY, Outcome, Rollout, State, Verdict, moved

SPEC = RolloutSpec(
    steps=(Step(weight_percent=10, hold_s=60), Step(weight_percent=50, hold_s=60)),
    shadow=Shadow(hold_s=30),
    max_hold_s=600,
)
NOW = 1_700_000_000_000
ALL_DAY = (Freeze(begin="00:00", end="00:00", why="year's end"),)


def rollout(state: State = "canary", *, held_s: float = 0, step: int = 0, **changes: object) -> Rollout:
    paused_in: State | None = "canary" if state == "paused" else None
    made = Rollout(
        id="r", candidate="n", stable="n-1", spec=SPEC, state=state, step=step, paused_in=paused_in, weight_percent=10
    )
    return msgspec.structs.replace(made, entered_ms=NOW - int(held_s * 1000), **changes)


def verdict(outcome: Outcome, reason: str = "because") -> Verdict:
    return Verdict(outcome=outcome, reason=reason)


def event(of: Rollout, outcome: Outcome) -> str | None:
    movement = next_movement(of, verdict(outcome), NOW)
    return movement.event if movement else None


@pytest.mark.parametrize("outcome", ["pass", "fail", "inconclusive"])
def test_a_pending_rollout_begins(outcome: Outcome) -> None:
    assert event(rollout("pending"), outcome) == "begin"


@pytest.mark.parametrize(
    ("held_s", "outcome", "expected"),
    [(0, "fail", "abort"), (29, "pass", None), (30, "inconclusive", "advance"), (30, "fail", "abort")],
)
def test_a_shadow_ends_when_its_time_is_over_or_what_it_shows_is_bad(
    held_s: float, outcome: Outcome, expected: str | None
) -> None:
    assert event(rollout("shadow", held_s=held_s), outcome) == expected


@pytest.mark.parametrize(
    ("held_s", "outcome", "expected"),
    [
        (59, "pass", None),
        (60, "pass", "advance"),
        (0, "fail", "abort"),
        (599, "inconclusive", None),
        (601, "inconclusive", "pause"),
        (601, "pass", "advance"),
    ],
)
def test_a_step_ends_by_a_verdict_after_its_hold(held_s: float, outcome: Outcome, expected: str | None) -> None:
    assert event(rollout(held_s=held_s), outcome) == expected


def test_the_last_steps_pass_promotes() -> None:
    assert event(rollout(step=1, held_s=60), "pass") == "promote"


@pytest.mark.parametrize(("outcome", "expected"), [("pass", None), ("inconclusive", None), ("fail", "abort")])
def test_a_paused_rollout_goes_nowhere_but_back(outcome: Outcome, expected: str | None) -> None:
    assert event(rollout("paused", held_s=10_000), outcome) == expected


@pytest.mark.parametrize("state", ["pending", "shadow", "canary"])
def test_nothing_moves_forward_in_a_freeze_window(state: State) -> None:
    frozen = rollout(state, held_s=10_000, spec=msgspec.structs.replace(SPEC, freeze=ALL_DAY))
    assert event(frozen, "pass") is None


def test_a_bad_candidate_is_taken_back_in_a_freeze_window_too() -> None:
    assert event(rollout(spec=msgspec.structs.replace(SPEC, freeze=ALL_DAY)), "fail") == "abort"


def test_a_forced_rollout_moves_in_a_freeze_window() -> None:
    forced = rollout(held_s=60, spec=msgspec.structs.replace(SPEC, freeze=ALL_DAY), forced=True)
    assert event(forced, "pass") == "advance"


def test_what_was_waited_for_stands_in_the_pause() -> None:
    movement = next_movement(rollout(held_s=601), verdict("inconclusive", "12 of 600 answers"), NOW)
    assert movement is not None
    assert movement.reason == "no verdict within 600 s: 12 of 600 answers"


@given(
    st.lists(st.tuples(st.sampled_from(["pass", "fail", "inconclusive"]), st.integers(0, 700)), max_size=40),
)
def test_a_rollout_takes_each_step_in_turn_and_ends_promoted_only_by_a_pass(looks: list[tuple[Outcome, int]]) -> None:
    now, seen = NOW, [rollout("pending", weight_percent=0.0)]
    passes = 0
    for outcome, after_s in looks:
        now += after_s * 1000
        movement = next_movement(seen[-1], verdict(outcome), now)
        if movement is not None:
            passes += outcome == "pass"
            seen.append(moved(seen[-1], movement.event, now_ms=now, reason=movement.reason))
        if seen[-1].state not in UNDER_WAY:
            break
    steps = [one.step for one in seen if one.state == "canary"]
    assert steps == sorted(set(steps))
    assert all(one.weight_percent in (0, 10, 50) for one in seen)
    assert seen[-1].state != "promoted" or passes >= len(SPEC.steps)
