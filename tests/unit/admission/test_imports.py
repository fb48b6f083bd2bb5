from __future__ import annotations

import json
from typing import Any

import pytest

from apx.admission.imports import MOST_LINE_BYTES, Imported, import_keys
from apx.admission.keys import sha256_of
from apx.backends.memory.keys import MemoryKeys
from apx.catalog.model import Catalog, Org, OrgSpec, Rate
from apx.clock import ManualClock
from apx.errors import Unsupported

FOREIGN = "sk_live_51H8abc"


def _org(name: str) -> Org:
    entitlements = {"orders": "free", "files": "gold"}
    return Org(name=name, spec=OrgSpec(title=name, region="eu", contacts=("a@b.example",), entitlements=entitlements))


CATALOG = Catalog(root="tree", products={}, plans={}, orgs={name: _org(name) for name in ("acme", "globex")})


def line(**changes: Any) -> bytes:
    return json.dumps({"sha256": sha256_of(FOREIGN), "org": "acme", "prefix": "sk_live_", **changes}).encode()


async def imported(store: MemoryKeys, *lines: bytes) -> Imported:
    return await import_keys(store, CATALOG, lines, ManualClock())


async def test_a_key_of_another_system_is_found_by_its_hash() -> None:
    store = MemoryKeys()
    await imported(store, line(note="from Kong", plans={"files": "gold"}))
    found = await store.find(sha256_of(FOREIGN))
    assert found is not None
    assert (found.org, found.region, found.plans, found.note) == ("acme", "eu", {"files": "gold"}, "from Kong")
    assert await store.prefixes() == {"sk_live_"}


async def test_it_has_limits_of_its_own() -> None:
    store = MemoryKeys()
    (record,) = (await imported(store, line(rate={"per_second": 5, "burst": 10}, quotas={"day": 1000}))).added
    assert await store.find(sha256_of(FOREIGN)) == record
    assert (record.rate, record.quotas) == (Rate(per_second=5, burst=10), {"day": 1000})


async def test_without_plans_it_has_the_orgs_entitlements() -> None:
    store = MemoryKeys()
    (record,) = (await imported(store, line())).added
    assert record.plans == {"orders": "free", "files": "gold"}


async def test_an_import_can_be_repeated() -> None:
    store = MemoryKeys()
    (first,) = (await imported(store, line())).added
    again = await imported(store, line(note="another"), line(sha256=sha256_of("sk_live_2")))
    assert (len(again.added), again.known) == (1, 1)
    assert await store.named(first.id) == first


async def test_blank_lines_and_capital_digits_are_taken() -> None:
    store = MemoryKeys()
    assert len((await imported(store, b"\n", line(sha256=sha256_of(FOREIGN).upper()) + b"\r\n", b"  ")).added) == 1
    assert await store.find(sha256_of(FOREIGN)) is not None


WRONG: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"sk_live_abc", "malformed"),
    "no object": (b"[]", "Expected `object`"),
    "no UTF-8": (b'{"org": "\xff"}', "line 2: "),
    "a lone surrogate": (line(note="x").replace(b'"x"', b'"\\ud800"'), "line 2: "),
    "a field twice": (line()[:-1] + b', "org": "globex"}', "twice"),
    "an unknown field": (line(key="CANARY"), "unknown field `key`"),
    "no hash": (line(sha256="abc"), "64 hexadecimal"),
    "a hash with a line end": (line(sha256=sha256_of(FOREIGN) + "\n"), "64 hexadecimal"),
    "an unknown org": (line(org="nobody"), "no org 'nobody'"),
    "a plan that is not the org's": (line(plans={"orders": "gold"}), "not entitled to 'orders' under 'gold'"),
    "terms that no key can have": (line(allowlist=["x"]), "allowlist"),
    "a rate that is none": (line(rate={"per_second": 0, "burst": 1}), "rate.per_second"),
    "a quota of a week": (line(quotas={"week": 9}), "'week'"),
    "a quota under the burst": (line(rate={"per_second": 5, "burst": 10}, quotas={"day": 9}), "9 is under rate.burst"),
    "no prefix": (line(prefix=""), "prefix"),
    "a prefix for everything": (line(prefix="s"), "prefix"),
    "a prefix with blanks": (line(prefix="sk live"), "prefix"),
    "a look-alike": (line(prefix="ѕk_live_"), "prefix"),  # noqa: RUF001 -- the look-alike is the example
    "our prefix": (line(prefix="apx_live_"), "our own"),
    "what our prefix begins with": (line(prefix="apx"), "our own"),
    "an expired key": (line(expires_ms=1), "not in the future"),
    "a megabyte": (line(note="x" * 1_000_000), f"over {MOST_LINE_BYTES} bytes"),
    "deep": (b"[" * 10_000, "line 2: "),
    "the same key twice": (line(), "earlier line"),
}


@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_line_is_named_and_nothing_is_imported(wrong: bytes, said: str) -> None:
    store = MemoryKeys()
    with pytest.raises(Unsupported) as refused:
        await imported(store, line(), wrong)
    assert "line 2: " in str(refused.value)
    assert said in str(refused.value)
    assert "CANARY" not in str(refused.value)
    assert (await store.list_keys(), await store.prefixes()) == ([], set())


async def test_a_key_of_one_org_is_not_taken_over_by_another() -> None:
    store = MemoryKeys()
    await imported(store, line())
    with pytest.raises(Unsupported, match="another org"):
        await imported(store, line(org="globex"), line(org="globex", sha256=sha256_of("sk_live_2")))
    assert [one.org for one in await store.list_keys()] == ["acme"]
