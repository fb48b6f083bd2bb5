"""What a key is limited to beside its plans: methods, addresses, time, requests. And what its owner writes on it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

from apx.admission.keys import KeyRecord
from apx.catalog.model import MOST_BURST, MOST_PER_SECOND, MOST_REQUESTS, Per, Rate
from apx.errors import Unsupported

MOST_NETWORKS, MOST_METADATA, MOST_VALUE, MOST_NOTE = 64, 16, 256, 500
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METADATA_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
PERIODS: tuple[Per, ...] = ("hour", "day", "month")
_LAST_MS = 253_402_300_799_000
"""The year 9999."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a key, as `KeyRecord` has them."""

    scopes: dict[str, tuple[str, ...]] = {}
    allowlist: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    expires_ms: int | None = None
    note: str = ""
    rate: Rate | None = None
    quotas: dict[Per, int] = {}

    def checked(self, products: Collection[str], now_ms: int) -> Terms:
        """Return them in their one form. Raises `Unsupported` for the first that no key of these products can have."""
        if len(self.note) > MOST_NOTE or not _one_line(self.note):
            raise Unsupported(f"note: at most {MOST_NOTE} characters on one line")
        if self.expires_ms is not None and not now_ms < self.expires_ms <= _LAST_MS:
            raise Unsupported(f"expires_ms: {self.expires_ms} is not in the future, or after the year 9999")
        _check_metadata(self.metadata)
        scopes = {product: _methods(product, methods, products) for product, methods in self.scopes.items()}
        networks, quotas = checked_networks(self.allowlist), checked_limits(self.rate, self.quotas)
        return msgspec.structs.replace(self, scopes=scopes, allowlist=networks, quotas=quotas)


NONE = Terms()


def may_call(key: KeyRecord, product: str, method: str) -> bool:
    """Tell whether a method of a product is in the key's scope; HEAD is where GET is (RFC 9110, section 9.3.2)."""
    if not key.scopes:
        return True
    methods = key.scopes.get(product)
    return methods is not None and (not methods or method in methods or (method == "HEAD" and "GET" in methods))


def may_read(key: KeyRecord, product: str) -> bool:
    """Tell whether what became of a product's requests is in the key's scope."""
    return not key.scopes or product in key.scopes


def may_cancel(key: KeyRecord, product: str) -> bool:
    """Tell whether the key may take back a product's requests: where it could have made one."""
    methods = key.scopes.get(product, ())
    return may_read(key, product) and (not methods or not _SAFE.issuperset(methods))


def may_come_from(key: KeyRecord, address: str) -> bool:
    """Tell whether the key may be used from an address; what is no address is in no network."""
    return not key.allowlist or is_within(key.allowlist, address)


@lru_cache(maxsize=10_000)
def is_within(allowlist: tuple[str, ...], address: str) -> bool:
    """Tell whether an address is in one of these networks."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    forms = [found]
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        forms.append(found.ipv4_mapped)
    return any(form in network for network in _networks(allowlist) for form in forms)


@lru_cache(maxsize=1000)
def _networks(allowlist: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network) for network in allowlist)


def checked_networks(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return networks in their one form. Raises `Unsupported` for the first that is none."""
    if len(given) > MOST_NETWORKS:
        raise Unsupported(f"allowlist: {len(given)} networks are more than {MOST_NETWORKS}")
    try:
        networks = [ip_network(network) for network in given if "%" not in network]
    except ValueError as error:
        raise Unsupported(f"allowlist: {str(error)[:120]}; a network is written as 203.0.113.0/24") from error
    if len(networks) < len(given):
        raise Unsupported("allowlist: an address with a zone means something else on each machine")
    return tuple(dict.fromkeys(map(str, networks)))


def checked_limits(rate: Rate | None, quotas: Mapping[Per, int]) -> dict[Per, int]:
    """Return a key's own quotas, the shortest first. Raises `Unsupported` for what is out of a plan's bounds too."""
    if rate is not None:
        if not 0 < rate.per_second <= MOST_PER_SECOND:  # nor is it, when it is not a number
            raise Unsupported(f"rate.per_second: {rate.per_second} is not over 0 and at most {MOST_PER_SECOND}")
        _check_count("rate.burst", rate.burst, MOST_BURST)
    found = {per: quotas[per] for per in PERIODS if per in quotas}
    within = [("rate.burst", rate.burst)] if rate is not None else []
    for per, requests in found.items():
        _check_count(f"quotas: {per}", requests, MOST_REQUESTS)
        for name, shorter in within:
            if requests < shorter:
                raise Unsupported(f"quotas: {per}: {requests} is under {name} {shorter}, which could never be used")
        within.append((f"that of the {per},", requests))
    return found


def _check_count(name: str, found: int, most: int) -> None:
    if not 1 <= found <= most:
        raise Unsupported(f"{name}: {found} is not from 1 to {most}")


def _methods(product: str, methods: tuple[str, ...], products: Collection[str]) -> tuple[str, ...]:
    if product not in products:
        raise Unsupported(f"scopes: {product[:80]!r} is none of the key's products: {', '.join(sorted(products))}")
    wrong = [method for method in methods if method not in METHODS]
    if wrong:
        raise Unsupported(f"scopes: {product}: {wrong[0][:40]!r} is none of {', '.join(METHODS)}")
    return tuple(dict.fromkeys(methods))


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > MOST_METADATA:
        raise Unsupported(f"metadata: {len(metadata)} entries are more than {MOST_METADATA}")
    for name, value in metadata.items():
        if not _METADATA_NAME.fullmatch(name):
            raise Unsupported(f"metadata: {name[:80]!r} is no name: 1 to 63 of a-z, 0-9, '_', '.' or '-'")
        if len(value) > MOST_VALUE or not _one_line(value):
            raise Unsupported(f"metadata: {name}: at most {MOST_VALUE} characters on one line")


def _one_line(text: str) -> bool:
    return text.isprintable()
