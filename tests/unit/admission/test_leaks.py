from __future__ import annotations

import secrets

import pytest

from apx.admission.keys import KeyRecord, mint, sha256_of
from apx.admission.leaks import keys_in, revoke_leaked
from apx.backends.memory.keys import MemoryKeys

KEY = mint("live", lambda size: bytes(range(size)))  # names of tests have it: the same in each process
RAW = KEY.encode()
WRONG = RAW[:-1] + (b"0" if RAW[-1:] != b"0" else b"1")

HOLDING = {
    "alone": RAW,
    "in a log line": b'1.2.3.4 "GET /?k=' + RAW + b'" 200',
    "in a word": b"xxx" + RAW + b"yyy",
    "in JSON": b'{"key":"' + RAW + b'\\n"}',
    "in what is no UTF-8": b"\xff\xfe" + RAW + b"\x80",
    "in UTF-16": f"key: {KEY}".encode("utf-16"),
    "after the beginning of another": b"apx_live_" + RAW,
    "over the end of what looks like another": b"apx_x_" + b"0" * 30 + RAW,
    "after one with a wrong checksum": WRONG + RAW,
    "more than once": RAW * 3,
}


@pytest.mark.parametrize("text", HOLDING.values(), ids=HOLDING.keys())
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_key_is_found_once_wherever_it_stands(text: bytes, size: int) -> None:
    assert list(keys_in(text[at : at + size] for at in range(0, len(text), size))) == [KEY]


@pytest.mark.parametrize(
    "text", [b"", WRONG, RAW[:-1], RAW.upper(), b"apx_" * 10_000, b"\0" * 1000, RAW[:20] + b"\n" + RAW[20:]]
)
def test_what_is_no_key_is_not_found(text: bytes) -> None:
    assert list(keys_in([text])) == []


async def test_what_is_stored_is_revoked_and_nothing_else() -> None:
    store, other = MemoryKeys(), mint("live", secrets.token_bytes)
    for key_id, key in (("key_1", KEY), ("key_2", other)):
        await store.put(KeyRecord(id=key_id, sha256=sha256_of(key), org="acme", region="eu", plans={}, created_ms=0))
    revoked = revoke_leaked(store, [KEY, mint("live", secrets.token_bytes)])
    assert [record.id async for record in revoked] == ["key_1"]
    assert [record.id for record in await store.list_keys()] == ["key_2"]
