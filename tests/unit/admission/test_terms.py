from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.admission.keys import KeyRecord
from apx.admission.terms import MOST_METADATA, MOST_NETWORKS, Terms, may_call, may_cancel, may_come_from, may_read
from apx.catalog.model import Rate
from apx.errors import Unsupported

PLANS = {"orders": "free", "files": "free"}
NOW_MS = 1_000


def key(**terms: Any) -> KeyRecord:
    return KeyRecord(id="key_1", sha256="0" * 64, org="acme", region="eu", plans=PLANS, created_ms=0, **terms)


NARROW = key(scopes={"orders": ("GET",), "files": ()})
CALLS = {
    "a method that is named": ("orders", "GET", True),
    "HEAD, where GET is named": ("orders", "HEAD", True),
    "a method that is not named": ("orders", "POST", False),
    "a method in small letters": ("orders", "get", False),
    "any method, where none is named": ("files", "DELETE", True),
    "a product that is not named": ("exports", "GET", False),
    "no product": ("", "GET", False),
}


@pytest.mark.parametrize(("product", "method", "allowed"), CALLS.values(), ids=CALLS.keys())
def test_a_scope_names_what_a_key_may_call(product: str, method: str, allowed: bool) -> None:  # noqa: FBT001 -- a case
    assert may_call(NARROW, product, method) is allowed
    assert may_call(key(), product, method)


def test_a_key_that_cannot_make_a_request_cannot_take_one_back() -> None:
    reader, writer = NARROW, key(scopes={"orders": ("GET", "POST")})
    assert (may_read(reader, "orders"), may_cancel(reader, "orders")) == (True, False)
    assert (may_cancel(reader, "files"), may_cancel(writer, "orders"), may_cancel(key(), "orders")) == (True,) * 3
    assert (may_read(writer, "files"), may_cancel(writer, "files")) == (False, False)


AT_HOME = key(allowlist=("203.0.113.0/24", "2001:db8::/32", "198.51.100.7/32"))
ADDRESSES = {
    "203.0.113.0": True,
    "203.0.113.255": True,
    "198.51.100.7": True,
    "2001:db8:ffff::1": True,
    "::ffff:203.0.113.9": True,  # the same client over a socket of both families
    "203.0.114.0": False,
    "198.51.100.8": False,
    "2001:db9::1": False,
    "::ffff:198.51.100.8": False,
    "": False,
    "203.0.113.9, 198.51.100.8": False,
    "203.0.113.009": False,
    "203.0.113.9:443": False,
    "0xCB007109": False,
    "unknown": False,
    "x" * 1_000_000: False,
}


@pytest.mark.parametrize(("address", "allowed"), ADDRESSES.items(), ids=[one[:30] for one in ADDRESSES])
def test_an_allowlist_names_where_a_key_may_come_from(address: str, allowed: bool) -> None:  # noqa: FBT001 -- a case
    assert may_come_from(AT_HOME, address) is allowed
    assert may_come_from(key(), address)


@given(st.text())
def test_no_address_raises(address: str) -> None:
    may_come_from(AT_HOME, address)


def test_terms_have_one_form() -> None:
    given_terms = Terms(scopes={"orders": ("GET", "GET")}, allowlist=("203.0.113.7", "203.0.113.7/32", "2001:DB8::/32"))
    checked = given_terms.checked(PLANS, NOW_MS)
    assert checked.scopes == {"orders": ("GET",)}
    assert checked.allowlist == ("203.0.113.7/32", "2001:db8::/32")
    assert list(Terms(quotas={"month": 9, "hour": 9}).checked(PLANS, NOW_MS).quotas) == ["hour", "month"]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a product that is not the key's": ({"scopes": {"exports": ()}}, "scopes: 'exports'"),
    "an unknown method": ({"scopes": {"orders": ("FETCH",)}}, "'FETCH' is none of GET"),
    "a method in small letters": ({"scopes": {"orders": ("get",)}}, "'get'"),
    "no network": ({"allowlist": ("anywhere",)}, "allowlist"),
    "bits behind the mask": ({"allowlist": ("10.0.0.1/8",)}, "has host bits set"),
    "a zone": ({"allowlist": ("fe80::1%eth0",)}, "zone"),
    "a megabyte": ({"allowlist": ("1" * 1_000_000,)}, "allowlist"),
    "too many networks": ({"allowlist": ("10.0.0.0/8",) * (MOST_NETWORKS + 1)}, "more than 64"),
    "too much metadata": ({"metadata": {f"n{n}": "" for n in range(MOST_METADATA + 1)}}, "more than 16"),
    "an odd name": ({"metadata": {"Team": "x"}}, "'Team' is no name"),
    "a long value": ({"metadata": {"team": "x" * 257}}, "at most 256"),
    "a control character": ({"metadata": {"team": "a\x1b[2J"}}, "on one line"),
    "a long note": ({"note": "x" * 501}, "note"),
    "two lines": ({"note": "a\nb"}, "note"),
    "an end that is past": ({"expires_ms": NOW_MS}, "not in the future"),
    "no rate": ({"rate": Rate(per_second=0, burst=1)}, "rate.per_second: 0 is not over 0 and at most 1000000"),
    "a rate that is no number": ({"rate": Rate(per_second=float("nan"), burst=1)}, "rate.per_second: nan"),
    "too high a rate": ({"rate": Rate(per_second=1e6 + 1, burst=1)}, "rate.per_second: 1000001.0"),
    "no burst": ({"rate": Rate(per_second=1, burst=0)}, "rate.burst: 0 is not from 1"),
    "too high a burst": ({"rate": Rate(per_second=1, burst=2**63)}, "rate.burst: 9223372036854775808"),
    "an empty quota": ({"quotas": {"day": 0}}, "quotas: day: 0 is not from 1 to 1000000000000"),
    "too high a quota": ({"quotas": {"day": 10**12 + 1}}, "quotas: day: 1000000000001"),
    "a quota under the burst": (
        {"rate": Rate(per_second=1, burst=9), "quotas": {"hour": 8}},
        "quotas: hour: 8 is under rate.burst 9, which could never be used",
    ),
    "a month under its day": ({"quotas": {"month": 5, "day": 6}}, "quotas: month: 5 is under that of the day, 6"),
    "an end beyond time": ({"expires_ms": 2**60}, "9999"),
}


@pytest.mark.parametrize(("terms", "said"), WRONG.values(), ids=WRONG.keys())
def test_terms_that_no_key_can_have_are_refused_with_their_name(terms: dict[str, Any], said: str) -> None:
    with pytest.raises(Unsupported, match=said) as refused:
        Terms(**terms).checked(PLANS, NOW_MS)
    assert len(str(refused.value)) < 400


def test_a_record_of_before_there_were_terms_has_none() -> None:
    old = msgspec.msgpack.encode(
        {"id": "k", "sha256": "0", "org": "acme", "region": "eu", "plans": PLANS, "created_ms": 0}
    )
    read = msgspec.msgpack.decode(old, type=KeyRecord)
    assert may_call(read, "orders", "POST")
    assert may_come_from(read, "")
    assert (read.rate, read.quotas, read.counted_as) == (None, {}, "k")
