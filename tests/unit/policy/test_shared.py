from __future__ import annotations

from typing import cast

from apx.policy.decision import Decision
from apx.policy.evaluate import Evaluator
from apx.policy.shared import SharedPolicies


class Counted:
    """What stands for an evaluator."""

    started: list[Counted]

    def __init__(self) -> None:
        self.evaluated = 0
        self.closed = 0

    def decide(self, _: bytes) -> Decision:
        self.evaluated += 1
        return Decision(allow=True, reason="ok")

    def close(self) -> None:
        self.closed += 1


class World:
    def __init__(self) -> None:
        self.started: list[Counted] = []
        self.policies = SharedPolicies(self.start)

    def start(self, _wasm: bytes, _data: bytes, _pure: bool) -> Evaluator:  # noqa: FBT001 -- the port's order
        self.started.append(Counted())
        return cast("Evaluator", self.started[-1])


def test_products_under_one_policy_share_it() -> None:
    world = World()
    one, other = (world.policies.take(b"code", b"{}", pure=True) for _ in range(2))
    one.decide(b"{}")
    other.decide(b"{}")

    assert [policy.evaluated for policy in world.started] == [2]


def test_other_code_other_data_and_a_clock_are_other_policies() -> None:
    world = World()
    for wasm, data, pure in (
        (b"code", b"{}", True),
        (b"else", b"{}", True),
        (b"code", b"1", True),
        (b"code", b"{}", False),
    ):
        world.policies.take(wasm, data, pure=pure)

    assert len(world.started) == 4


def test_a_policy_is_closed_when_the_last_product_lets_go() -> None:
    world = World()
    one, other = (world.policies.take(b"code", b"{}", pure=True) for _ in range(2))
    one.close()
    one.close()

    assert world.started[0].closed == 0
    other.close()
    assert world.started[0].closed == 1
    assert len(world.policies) == 0
