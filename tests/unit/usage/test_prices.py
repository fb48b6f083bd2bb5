"""The price list: each price is read somewhere, or says why it is assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from apx.errors import Misconfigured
from apx.usage.prices import PRICES, REGIONS, Price, list_prices, read_prices
from apx.usage.profile import Profile
from apx.usage.quantities import lines

LISTED = list_prices().listed
ROW = """compiled: 2026-11-25
prices:
  - {name: a, sku: A, unit: GiB, usd: 1, regions: [us-central1], date: 2026-11-25, source: "https://a.example", read: b}
"""


def named(price: Price) -> str:
    return f"{price.name}-{price.regions[0]}"


def test_every_line_has_a_price_in_every_region() -> None:
    wanted = {line.price for line in lines(Profile())}
    assert {(name, region) for name in wanted for region in REGIONS} == set(list_prices().by_name)


@pytest.mark.parametrize("price", LISTED, ids=named)
def test_a_price_that_is_not_read_is_not_said_to_be(price: Price) -> None:
    assert price.assumed or price.read != "not read"
    assert price.usd > 0
    assert price.date <= list_prices().compiled


def test_iowa_is_read_but_for_what_is_named_here() -> None:
    assumed = {price.name for price in LISTED if price.assumed and "us-central1" in price.regions}
    assert assumed == {"firestore.delete", "firestore.backup", "bigquery.ingested", "bigquery.stored"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("usd: 1", "usd: -1"), "`float` >= 0"),
        (("unit: GiB, ", ""), "missing required field `unit`"),
        (("read: b", "read: b, assumed: true"), "a: what is assumed says why"),
        (("read: b", "read: b, why: so"), "a: what is assumed says why"),
        (("[us-central1]", "[us-central1, us-central1]"), "a has two prices in us-central1"),
    ],
)
def test_a_list_with_a_mistake_says_which(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    file = tmp_path / PRICES.name
    file.write_text(ROW.replace(*change))
    with pytest.raises(Misconfigured) as raised:
        read_prices(file)
    assert said in str(raised.value)


def test_a_price_that_is_missing_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"no price of \('nothing', 'us-central1'\)"):
        list_prices().of("nothing", ("us-central1",))
