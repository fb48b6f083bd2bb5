"""Notations with an order or a size: versions, units, UUIDs."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from apx.policy.builtins.base import ANY, TEXT, BuiltinError, Host, Unanswerable, host

_VERSION = re.compile(
    r"v?(?P<major>0|[1-9][0-9]*)\.(?P<minor>0|[1-9][0-9]*)\.(?P<patch>0|[1-9][0-9]*)"
    r"(?:-(?P<pre>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_MOST = 2**63 - 1
_NUMBER = re.compile(r"[0-9.]*(?:[eE][+-]?[0-9]+)?")
_AMOUNT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_MOST_EXPONENT = 400
_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("kmgtpe", start=1)}
_DECIMAL = {letter: 1000**power for power, letter in enumerate("kmgtpe", start=1)}
_BYTES = {"": 1} | _BINARY | _DECIMAL | {f"{unit}b": size for unit, size in (_BINARY | _DECIMAL).items()}

Version = tuple[int, int, int, tuple[str, ...]]


def _version(text: str) -> Version:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise BuiltinError
    numbers = (int(match["major"]), int(match["minor"]), int(match["patch"]))
    parts = tuple(match["pre"].split(".")) if match["pre"] else ()
    if max(numbers) > _MOST or any(part.isdigit() and part[0] == "0" and len(part) > 1 for part in parts):
        raise BuiltinError
    return (*numbers, parts)


def _order(version: Version) -> tuple[Any, ...]:
    """Make a key that sorts as semver.org says: numbers before words, a pre-release before its release."""
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in version[3])
    return (*version[:3], not parts, parts)


@host(TEXT, TEXT)
def semver_compare(one: str, other: str) -> int:
    """Return -1, 0 or 1."""
    first, second = _order(_version(one)), _order(_version(other))
    return (first > second) - (first < second)


@host(ANY)
def semver_is_valid(text: Any) -> bool:
    """Say whether it is a version."""
    try:
        _version(TEXT(text))
    except BuiltinError:
        return False
    return True


@host(TEXT)
def units_parse(text: str) -> int | Decimal:
    """Read an amount with an SI or binary unit; `m` is a thousandth, `M` a million."""
    amount, unit = _amount(text.replace('"', ""))
    unit = unit[:1] + unit[1:].lower()
    if unit == "m":
        factor = Fraction(0.001)  # opa takes the double next to a thousandth
    else:
        size = ({"": 1} | _BINARY | _DECIMAL).get(unit.lower())
        if size is None:
            raise BuiltinError
        factor = Fraction(size)
    value = amount * factor
    if value.denominator == 1:
        return value.numerator
    scaled = abs(value) * 10**10  # ten digits, halves away from zero, as Go's FloatString
    digits = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(digits if value > 0 else -digits).scaleb(-10)


@host(TEXT)
def units_parse_bytes(text: str) -> int:
    """Read a number of bytes with an SI or binary unit, cut to a whole number."""
    amount, unit = _amount(text.lower().replace('"', ""))
    if unit not in _BYTES:
        raise BuiltinError
    return int(_rounded(_rounded(amount) * _BYTES[unit]))


def _rounded(value: Fraction) -> Fraction:
    """Round to 64 bits, as Go's big.Float does after each step."""
    if value == 0:
        return value
    shift = 64 - (abs(value.numerator).bit_length() - value.denominator.bit_length())
    scaled = value * Fraction(2) ** shift
    if abs(scaled) >= Fraction(2) ** 64:
        shift -= 1
        scaled /= 2
    return Fraction(round(scaled)) / Fraction(2) ** shift


def _amount(text: str) -> tuple[Fraction, str]:
    if " " in text:
        raise BuiltinError
    match = re.match(r"[+-]?[0-9.]*(?:[eE](?:[+-][0-9]*|[0-9]+))?", text)
    number = match[0] if match else ""
    if _AMOUNT.fullmatch(number) is None:
        raise BuiltinError
    exponent = re.split("[eE]", number)[-1] if re.search("[eE]", number) else "0"
    if abs(int(exponent)) > _MOST_EXPONENT:
        raise Unanswerable("units with an exponent over 400")
    return Fraction(number), text[len(number) :]


_MAC_KINDS = ("global:unicast", "global:multicast", "local:unicast", "local:multicast")
_DOMAINS = {0: "Person", 1: "Group", 2: "Org"}
_GREGORIAN_TO_UNIX = 0x01B21DD213814000
"""100 ns between the two epochs (RFC 9562, section 5.1)."""


@host(TEXT)
def uuid_parse(text: str) -> dict[str, Any]:
    """Take a UUID apart; only the versions with a time and a node have more than version and variant."""
    if not re.fullmatch(r"(?:urn:uuid:|\{)?[0-9a-fA-F-]{32,36}\}?", text, re.IGNORECASE):
        raise BuiltinError
    bare = text[9:] if text.lower().startswith("urn:uuid:") else text[1:-1] if text.startswith("{") else text
    if not re.fullmatch(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", bare):
        raise BuiltinError
    uuid = UUID(bare)
    version = uuid.bytes[6] >> 4
    found: dict[str, Any] = {"version": version, "variant": _variant(uuid.bytes[8])}
    if version in (1, 2):
        node = uuid.bytes[10:]
        found["time"] = (uuid.time - _GREGORIAN_TO_UNIX) * 100
        found["nodeid"] = "-".join(f"{byte:02x}" for byte in node)
        found["macvariables"] = _MAC_KINDS[node[0] & 0b11]
        found["clocksequence"] = uuid.clock_seq
    if version == 2:  # noqa: PLR2004
        found["id"] = uuid.time_low
        found["domain"] = _DOMAINS.get(uuid.bytes[9], f"Domain{uuid.bytes[9]}")
    return found


def _variant(octet: int) -> str:
    for mask, bits, name in ((0xC0, 0x80, "RFC4122"), (0xE0, 0xC0, "Microsoft"), (0xE0, 0xE0, "Future")):
        if octet & mask == bits:
            return name
    return "Reserved"


NOTATIONS: dict[str, Host] = {
    "semver.compare": semver_compare,
    "semver.is_valid": semver_is_valid,
    "units.parse": units_parse,
    "units.parse_bytes": units_parse_bytes,
    "uuid.parse": uuid_parse,
}
