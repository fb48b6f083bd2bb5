"""What a request cost after all."""

from __future__ import annotations

from typing import Any

import pytest

from apx.catalog.model import Cost, CostFrom
from apx.limits.store import Settle
from apx.requests.costing import settled_usd, unsettled
from apx.requests.model import Envelope, Reserved, Result

TOKENS = Cost(usd=0.5, from_=CostFrom(json="/usage/total_tokens", usd_per_unit=0.001))
HEADER = Cost(usd=0.5, from_=CostFrom(header="x-tokens", usd_per_unit=0.001))


def result(state: Any = "succeeded", **fields: Any) -> Result:
    whole = {"id": "r", "org": "acme", "product": "p", "release": "d", "accepted_ms": 0, "finished_ms": 1}
    return Result(**{**whole, "state": state, **fields})


def test_an_answer_says_what_it_cost_in_its_body() -> None:
    assert settled_usd(TOKENS, result(body=b'{"usage": {"total_tokens": 1200}}')) == 1.2


def test_or_in_a_header() -> None:
    assert settled_usd(HEADER, result(headers=(("x-tokens", "1200.0"),))) == 1.2


@pytest.mark.parametrize(
    ("pointer", "usd"),
    [("/a~1b/m~0n/1", 7.0), ("/a~1b/m~0n/9", None), ("/a~1b/m~0n/-", None), ("/a~1b", None), ("/x/y", None), ("/s", 3)],
)
def test_a_pointer_leads_through_objects_and_arrays(pointer: str, usd: float | None) -> None:
    cost = Cost(from_=CostFrom(json=pointer, usd_per_unit=1))
    assert settled_usd(cost, result(body=b'{"a/b": {"m~n": [5, 7]}, "s": "3"}')) == usd


_NO_NUMBERS = (b"-1", b"true", b"null", b'"NaN"', b'"inf"', b"1e300", b"[1]", b"9" * 400)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no json", b"\xff", b"[]", b'{"usage": {}}'),
        *(b'{"usage": {"total_tokens": %b}}' % value for value in _NO_NUMBERS),
    ],
)
def test_an_answer_that_says_nothing_of_use_costs_what_was_set_aside(body: bytes) -> None:
    assert settled_usd(TOKENS, result(body=body)) is None


def test_a_header_that_stands_twice_says_nothing() -> None:
    assert settled_usd(HEADER, result(headers=(("x-tokens", "1"), ("x-tokens", "2")))) is None


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_what_fails_costs_what_its_product_says(state: str) -> None:
    body = b'{"usage": {"total_tokens": 1200}}'
    assert settled_usd(Cost(usd=1, on_failure="return"), result(state)) == 0
    assert settled_usd(Cost(usd=1, on_failure="keep"), result(state)) is None
    assert settled_usd(TOKENS, result(state, body=body)) is None


def test_a_fixed_cost_is_what_was_set_aside() -> None:
    assert settled_usd(Cost(usd=1), result()) is None
    assert settled_usd(None, result()) is None


@pytest.mark.parametrize(
    ("reserved", "cost_usd", "told"),
    [(0.5, 0.75, [250_000]), (0.5, 0.0, [-500_000]), (0.5, None, []), (0.0, None, [500_000])],
)
def test_budgets_are_told_the_difference(reserved: float, cost_usd: float | None, told: list[float]) -> None:
    envelope = Envelope(
        id="r", org="acme", key_id="k", product="p", release="d", lane="org", method="POST", path="/", query="",
        headers=(), body=b"", accepted_ms=0, deadline_ms=1, timeout_s=1, cost_usd=0.5,
        reserved=(Reserved("b", 9.0, reserved),),
    )  # fmt: skip
    assert unsettled(envelope, result(cost_usd=cost_usd)) == [Settle("b", 9.0, tokens) for tokens in told]
