from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apx.admission.identity import presented_key
from apx.admission.issue import issue_key
from apx.admission.keys import MAX_KEY_CHARACTERS, mint, sha256_of, well_formed
from apx.backends.memory.keys import MemoryKeys
from apx.catalog.model import Catalog, Org, OrgSpec
from apx.clock import ManualClock
from apx.errors import NotFound, Unsupported

KEY = mint("live", lambda size: bytes(range(size)))


def test_a_minted_key_is_well_formed() -> None:
    assert well_formed(KEY)


def test_a_key_names_its_environment() -> None:
    assert KEY.startswith("apx_live_")


def test_the_longest_key_fits() -> None:
    key = mint("e" * 16, secrets.token_bytes)
    assert len(key) == MAX_KEY_CHARACTERS
    assert well_formed(key)


@given(st.binary(min_size=20, max_size=20))
def test_other_random_bits_give_another_key(random: bytes) -> None:
    key = mint("live", lambda _: random)
    assert well_formed(key)
    assert (key == KEY) is (random == bytes(range(20)))


@given(st.integers(0, len(KEY) - 1), st.characters(codec="ascii"))
def test_one_wrong_character_is_seen(at: int, character: str) -> None:
    typo = KEY[:at] + character + KEY[at + 1 :]
    assert well_formed(typo) is (typo == KEY)


@given(st.integers(len("apx_live_"), len(KEY) - 2))
def test_two_swapped_characters_are_seen(at: int) -> None:
    swapped = KEY[:at] + KEY[at + 1] + KEY[at] + KEY[at + 2 :]
    assert well_formed(swapped) is (swapped == KEY)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert well_formed(text) is False


NO_KEYS = {
    "nothing": "",
    "cut short": KEY[:-1],
    "one too long": KEY + "0",
    "blank after": KEY + " ",
    "line feed after": KEY + "\n",
    "blank before": " " + KEY,
    "another prefix": "api" + KEY[3:],
    "upper case": KEY.upper(),
    "a Cyrillic letter that looks Latin": KEY.replace("a", "а", 1),  # noqa: RUF001 -- the look-alike is the example
    "a digit of another script": KEY[:-1] + "٣",
    "one megabyte": "apx_live_" + "0" * 1_000_000,
    "no environment": KEY.replace("live", ""),
    "an environment that is too long": mint("e" * 17, secrets.token_bytes),
    "an environment in capitals": mint("Live", secrets.token_bytes),
}


@pytest.mark.parametrize("text", NO_KEYS.values(), ids=NO_KEYS.keys())
def test_what_is_no_key_is_not_well_formed(text: str) -> None:
    assert not well_formed(text)


def test_a_key_is_stored_by_its_hash() -> None:
    assert sha256_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


CATALOG = Catalog(
    root="tree",
    products={},
    plans={},
    orgs={
        "acme": Org(
            name="acme",
            spec=OrgSpec(title="Acme", region="eu", contacts=("a@acme.example",), entitlements={"orders": "free"}),
        )
    },
)


async def test_an_issued_key_has_the_entitlements_and_region_of_its_org() -> None:
    store = MemoryKeys()
    key, record = await issue_key(store, CATALOG, "acme", environment="test", note="n", clock=ManualClock())
    assert (record.org, record.region, record.plans) == ("acme", "eu", {"orders": "free"})
    assert await store.find(sha256_of(key)) == record


async def test_a_record_holds_no_part_of_its_key() -> None:
    key, record = await issue_key(MemoryKeys(), CATALOG, "acme", environment="test", note="", clock=ManualClock())
    assert key.split("_")[2][:8] not in repr(record)


async def test_an_unknown_org_gets_no_key() -> None:
    store = MemoryKeys()
    with pytest.raises(NotFound, match=r"no org 'nobody'.*acme"):
        await issue_key(store, CATALOG, "nobody", environment="test", note="", clock=ManualClock())
    assert await store.list_keys() == []


@pytest.mark.parametrize("environment", ["", "Live", "a_b", "ü", "a b", "e" * 17])
async def test_an_environment_that_would_make_a_key_unusable_is_refused(environment: str) -> None:
    store = MemoryKeys()
    with pytest.raises(Unsupported, match="1 to 16 lower-case letters and digits"):
        await issue_key(store, CATALOG, "acme", environment=environment, note="", clock=ManualClock())
    assert await store.list_keys() == []


A, B = "one-key", "another-key"
PRESENTED: dict[str, tuple[dict[str, str], str | None]] = {
    "bearer": ({"authorization": f"Bearer {A}"}, A),
    "bearer in other capitals": ({"authorization": f"bEARER {A}"}, A),
    "bearer with blanks": ({"authorization": f"Bearer   {A} "}, A),
    "header": ({"x-api-key": A}, A),
    "the same key twice": ({"authorization": f"Bearer {A}", "x-api-key": A}, A),
    "two different keys": ({"authorization": f"Bearer {A}", "x-api-key": B}, None),
    "none": ({}, None),
    "basic": ({"authorization": f"Basic {A}"}, None),
    "basic beside a key": ({"authorization": f"Basic {A}", "x-api-key": A}, None),
    "bearer without a token beside a key": ({"authorization": "Bearer", "x-api-key": A}, None),
    "the token without a scheme": ({"authorization": A}, None),
    "cookie": ({"cookie": f"x-api-key={A}"}, None),
}


@pytest.mark.parametrize(("headers", "key"), PRESENTED.values(), ids=PRESENTED.keys())
def test_a_request_carries_one_key_or_none(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(headers, bearer_is_jwt=False) == key


def test_beside_a_token_the_key_stands_in_its_own_field() -> None:
    assert presented_key({"authorization": f"Bearer {A}", "x-api-key": B}, bearer_is_jwt=True) == B


def test_a_token_is_never_taken_for_a_key() -> None:
    assert presented_key({"authorization": f"Bearer {A}"}, bearer_is_jwt=True) is None
