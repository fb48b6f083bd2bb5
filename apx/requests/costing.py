"""What a request cost after all: what its backend's answer says, or nothing where it failed and that is returned."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from apx.catalog.model import Cost, CostFrom
from apx.limits.budgets import micro
from apx.limits.store import Settle
from apx.requests.model import Envelope, Result

_MOST_USD = 1e9


def settled_usd(cost: Cost | None, result: Result) -> float | None:
    """Return what a request with a result cost; None: what was set aside for it."""
    if cost is None:
        return None
    if result.state != "succeeded":
        return 0.0 if cost.on_failure == "return" else None
    units = None if cost.from_ is None else _units(cost.from_, result)
    if cost.from_ is None or units is None:
        return None
    usd = units * cost.from_.usd_per_unit
    return usd if usd <= _MOST_USD else None


def unsettled(envelope: Envelope, result: Result) -> list[Settle]:
    """Return what its budgets are still to be told of a request."""
    usd = (envelope.cost_usd or 0.0) if result.cost_usd is None else result.cost_usd
    return [Settle(one.bucket, one.ends_s, micro(usd) - micro(one.usd)) for one in envelope.reserved if usd != one.usd]


def _units(said: CostFrom, result: Result) -> float | None:
    if said.header is not None:
        values = [value for name, value in result.headers if name == said.header]
        return _number(values[0]) if len(values) == 1 else None
    try:
        document = msgspec.json.decode(result.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _number(_at(document, said.json or ""))


def _at(document: Any, pointer: str) -> Any:
    """Return the value that a JSON pointer leads to (RFC 6901, section 4); None where there is none."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isascii() and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
