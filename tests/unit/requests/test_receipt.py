"""Receipts prove what they say, and nobody else can make one."""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.errors import Misconfigured
from apx.requests.receipt import Entropy, Receipts, _hmac_sha256

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
RELEASE = "sha256:" + "ab" * 32
NOW_MS = 1_700_000_000_123


@pytest.fixture
def receipts() -> Receipts:
    return Receipts([KEY], "eu")


def mint(receipts: Receipts, org: str = "acme") -> str:
    return receipts.mint(org, "orders", RELEASE, NOW_MS, os.urandom)


def test_a_receipt_says_when_and_where(receipts: Receipts) -> None:
    receipt = receipts.verify(mint(receipts))
    assert receipt is not None
    assert (receipt.accepted_ms, receipt.region) == (NOW_MS, "eu")


def test_a_receipt_belongs_to_its_org_alone(receipts: Receipts) -> None:
    receipt = receipts.verify(mint(receipts))
    assert receipt is not None
    assert receipts.belongs_to(receipt, "acme")
    assert not receipts.belongs_to(receipt, "acmf")


def test_a_receipt_names_its_product_and_release(receipts: Receipts) -> None:
    receipt = receipts.verify(mint(receipts))
    assert receipt is not None
    assert receipt.product_tag in receipts.product_tags("orders")
    assert receipt.product_tag not in receipts.product_tags("tickets")
    assert receipt.release_tag in receipts.release_tags(RELEASE)
    assert receipt.release_tag not in receipts.release_tags("sha256:" + "cd" * 32)


def test_receipts_of_one_moment_differ(receipts: Receipts) -> None:
    assert len({mint(receipts) for _ in range(1000)}) == 1000


def test_a_receipt_is_url_safe(receipts: Receipts) -> None:
    text = mint(receipts)
    assert text.startswith("req_")
    assert text.replace("_", "").replace("-", "").isalnum()


def test_a_receipt_does_not_show_the_names_in_it(receipts: Receipts) -> None:
    assert b"acme" not in urlsafe_b64decode(mint(receipts)[4:])


def test_every_changed_bit_is_refused(receipts: Receipts) -> None:
    raw = urlsafe_b64decode(mint(receipts)[4:])
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert receipts.verify("req_" + urlsafe_b64encode(bytes(changed)).decode()) is None


def test_there_is_one_text_for_each_id(receipts: Receipts) -> None:
    text = mint(receipts)
    others = [
        f"{text[:-1]} ",
        text + "=",
        text + "\n",
        f" {text}",
        text[:-1],
        text.upper(),
        f"{text[:20]}\n{text[21:]}",
    ]
    assert [receipts.verify(other) for other in others] == [None] * len(others)


def test_another_installations_receipt_is_refused(receipts: Receipts) -> None:
    assert receipts.verify(mint(Receipts([OTHER_KEY], "eu"))) is None


@given(st.text(max_size=80) | st.binary(min_size=45, max_size=45).map(lambda b: "req_" + urlsafe_b64encode(b).decode()))
def test_hostile_ids_are_refused_and_never_raise(text: str) -> None:
    assert Receipts([KEY], "eu").verify(text) is None


@given(st.text(st.characters(max_codepoint=127), min_size=60, max_size=60).map(lambda t: "req_" + t))
def test_ids_of_the_right_length_never_raise(text: str) -> None:
    assert Receipts([KEY], "eu").verify(text) is None


def test_an_old_key_still_verifies_while_it_is_listed() -> None:
    old = mint(Receipts([OTHER_KEY], "eu"))
    rotated = Receipts([KEY, OTHER_KEY], "eu")
    receipt = rotated.verify(old)
    assert receipt is not None
    assert rotated.belongs_to(receipt, "acme")
    assert rotated.verify(mint(rotated)) is not None
    assert Receipts([KEY], "eu").verify(old) is None


def test_the_first_key_mints() -> None:
    assert Receipts([KEY], "eu").verify(mint(Receipts([KEY, OTHER_KEY], "eu"))) is not None


@pytest.mark.parametrize(
    ("keys", "region"),
    [([], "eu"), ([b"short"], "eu"), ([KEY, b""], "eu"), ([KEY], "europe"), ([KEY], ""), ([KEY], "EU"), ([KEY], "é1")],
)
def test_keys_and_regions_that_are_none_are_refused(keys: list[bytes], region: str) -> None:
    with pytest.raises(Misconfigured):
        Receipts(keys, region)


@given(st.binary(min_size=1, max_size=64), st.binary(max_size=200))
def test_the_prepared_mac_is_hmac_sha256(key: bytes, message: bytes) -> None:
    assert _hmac_sha256(key, 32)(message) == hmac.digest(key, message, "sha256")


def test_no_random_byte_is_given_twice() -> None:
    source = iter(range(10_000))
    entropy = Entropy(lambda size: b"".join(next(source).to_bytes(2, "big") for _ in range(size // 2)))

    given = b"".join(entropy(8) for _ in range(2_000))

    pairs = [given[at : at + 2] for at in range(0, len(given), 2)]
    assert len(set(pairs)) == len(pairs)
