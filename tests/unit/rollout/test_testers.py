"""The header by which a tester chooses an arm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.rollout.model import Arm
from apx.rollout.testers import ArmTokens

NOW = 1_700_000_000
TOKENS = ArmTokens(b"a" * 32)
GOOD = TOKENS.mint("orders", "candidate", NOW + 60)


@pytest.mark.parametrize("arm", ["stable", "candidate"])
def test_a_genuine_value_chooses_its_arm(arm: Arm) -> None:
    assert TOKENS.read(TOKENS.mint("orders", arm, NOW + 60), "orders", NOW) == arm


def test_it_is_for_its_product_alone() -> None:
    assert TOKENS.read(GOOD, "exports", NOW) is None


@pytest.mark.parametrize(("after_s", "read"), [(59.9, "candidate"), (60, None), (1e9, None)])
def test_it_ends(after_s: float, read: str | None) -> None:
    assert TOKENS.read(GOOD, "orders", NOW + after_s) == read


def test_another_installations_value_is_none() -> None:
    assert ArmTokens(b"b" * 32).read(GOOD, "orders", NOW) is None


@pytest.mark.parametrize("expiry", ["nan", "inf", "1e99", "9" * 20, "-1", "", "٣"])
def test_nobody_writes_another_end(expiry: str) -> None:
    product, arm, _, mac = GOOD.split(".")
    assert TOKENS.read(f"{product}.{arm}.{expiry}.{mac}", "orders", NOW) is None


@given(st.text(max_size=300))
def test_no_other_text_is_one(text: str) -> None:
    assert TOKENS.read(text, "orders", NOW) is None


@given(st.integers(0, len(GOOD) - 1), st.characters(min_codepoint=33, max_codepoint=126))
def test_no_changed_letter_goes_unseen(at: int, letter: str) -> None:
    changed = GOOD[:at] + letter + GOOD[at + 1 :]
    assert changed == GOOD or TOKENS.read(changed, "orders", NOW) is None
