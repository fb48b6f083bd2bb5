"""The state machine: what moves whereto, and that nothing else does."""

from __future__ import annotations

from itertools import pairwise, product
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.catalog.model import RolloutSpec, Shadow, Step
from apx.errors import Conflict
from apx.rollout.model import TRANSITIONS, UNDER_WAY, Event, Rollout, State, moved

SPEC = RolloutSpec(steps=(Step(weight_percent=5), Step(weight_percent=25), Step(weight_percent=50)))
STATES, EVENTS = get_args(State), get_args(Event)


def rollout(state: State = "pending", **changes: object) -> Rollout:
    paused_in: State | None = "canary" if state == "paused" else None
    made = Rollout(id="r", candidate="n", stable="n-1", spec=SPEC, state=state, paused_in=paused_in, entered_ms=1000)
    return msgspec.structs.replace(made, **changes)


def after(of: Rollout, event: Event, now_ms: int = 5000) -> Rollout:
    return moved(of, event, now_ms=now_ms, reason="because")


@pytest.mark.parametrize(("pair", "to"), TRANSITIONS.items(), ids=map(str, TRANSITIONS))
def test_each_row_leads_to_its_state(pair: tuple[State, Event], to: tuple[State, ...]) -> None:
    assert after(rollout(pair[0]), pair[1]).state in to


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in product(STATES, EVENTS) if pair not in TRANSITIONS], ids=str
)
def test_nothing_else_moves(state: State, event: Event) -> None:
    with pytest.raises(Conflict, match=f"{state} cannot {event}"):
        after(rollout(state), event)


def test_what_has_ended_stays_ended() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] not in UNDER_WAY]


def test_an_abort_works_from_every_state_that_is_under_way() -> None:
    assert {state for state, event in TRANSITIONS if event == "abort"} == UNDER_WAY


def test_a_rollout_without_a_shadow_begins_in_canary() -> None:
    without = msgspec.structs.replace(SPEC, shadow=Shadow(share_percent=0))
    begun = after(rollout(spec=without), "begin")
    assert (begun.state, begun.step, begun.weight_percent) == ("canary", 0, 5)


def test_steps_are_taken_in_turn_and_none_comes_after_the_last() -> None:
    now = after(rollout("shadow"), "advance")
    weights = [now.weight_percent]
    for _ in range(2):
        now = after(now, "advance")
        weights.append(now.weight_percent)
    assert weights == [5, 25, 50]
    with pytest.raises(Conflict):
        after(now, "advance")


def test_a_pause_keeps_the_weight_and_a_resume_the_time_held() -> None:
    canary = rollout("canary", step=1, weight_percent=25.0, entered_ms=1000)
    paused = after(canary, "pause", 4000)
    assert (paused.weight_percent, paused.held_ms, paused.paused_in) == (25, 3000, "canary")
    resumed = after(paused, "resume", 100_000)
    assert (resumed.state, resumed.step, resumed.weight_percent) == ("canary", 1, 25)
    assert resumed.entered_ms == 97_000


def test_a_shadow_runs_in_shadow_and_in_canary_alone() -> None:
    shown = {state: rollout(state).shadow_percent for state in STATES}
    assert {state for state, share in shown.items() if share} == {"shadow", "canary", "paused"}


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_no_order_of_events_gives_a_weight_that_no_step_has(events: list[Event]) -> None:
    now, steps = rollout(), [0]
    for at, event in enumerate(events):
        try:
            now = after(now, event, 5000 + at)
        except Conflict:
            continue
        steps.append(now.step)
        allowed = {SPEC.steps[now.step].weight_percent} if "canary" in {now.state, now.paused_in} else {0.0}
        assert now.weight_percent in allowed
        assert now.held_ms >= 0
    assert all(later - earlier in {0, 1} for earlier, later in pairwise(steps))
