"""Public list prices: `prices.yaml`, with the text in which each was read, or why it is assumed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from apx.errors import Misconfigured

REGIONS = ("us-central1", "europe-west1")
"""Regions that have a price of everything."""
PRICES = Path(__file__).with_name("prices.yaml")


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one unit costs in some regions."""

    name: str
    sku: str
    """Words of the SKU, to find it in Google's catalogue."""
    unit: str
    usd: Annotated[float, Meta(ge=0)]
    regions: tuple[str, ...]
    date: dt.date
    source: Annotated[str, Meta(pattern="^https://")]
    """Google's page for it."""
    read: str
    """The text in which the number stood."""
    assumed: bool = False
    """It was not read anywhere, at least not for these regions."""
    why: str = ""


class Prices(msgspec.Struct, frozen=True):
    """A price list: by name and region."""

    compiled: dt.date
    listed: tuple[Price, ...]
    by_name: Mapping[tuple[str, str], Price]

    def of(self, name: str, regions: tuple[str, ...]) -> tuple[Price, ...]:
        """Return the price in each of some regions. Raises `Misconfigured` where one is missing."""
        try:
            return tuple(self.by_name[name, region] for region in regions)
        except KeyError as missing:
            raise Misconfigured(f"{PRICES}: no price of {missing}") from None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    compiled: dt.date
    prices: tuple[Price, ...]


def read_prices(path: Path = PRICES) -> Prices:
    """Read a price list. Raises `Misconfigured`."""
    try:
        file = msgspec.yaml.decode(path.read_bytes(), type=_File, strict=False)
    except (OSError, msgspec.MsgspecError) as error:
        raise Misconfigured(f"{path}: {error}") from error
    by_name: dict[tuple[str, str], Price] = {}
    for price in file.prices:
        if price.assumed != bool(price.why):
            raise Misconfigured(f"{path}: {price.name}: what is assumed says why, and nothing else does")
        for region in price.regions:
            if (price.name, region) in by_name:
                raise Misconfigured(f"{path}: {price.name} has two prices in {region}")
            by_name[price.name, region] = price
    return Prices(file.compiled, file.prices, by_name)


@cache
def list_prices() -> Prices:
    """Return the price list that comes with APX."""
    return read_prices()
