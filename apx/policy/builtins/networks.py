"""CIDRs, read as Go's net package reads them: no masks in dots, no zones, no missing length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Any

from apx.policy.builtins.base import ANY, MOST_MEMBERS, TEXT, BuiltinError, Host, RegoSet, Unanswerable, host

Network = IPv4Network | IPv6Network
_CIDR = re.compile(r"[0-9a-fA-F:.]+/[0-9]{1,3}")
_MAPPED_BITS = 96


def _network(text: str) -> Network:
    if _CIDR.fullmatch(text) is None:
        raise BuiltinError
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise BuiltinError from error


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def _unmapped(network: Network) -> Network:
    """Return the IPv4 network that an IPv4-mapped one stands for: Go compares them as such."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        inner = network.network_address.ipv4_mapped
        if inner is not None:
            return IPv4Network((inner, network.prefixlen - _MAPPED_BITS))
    return network


def _contains(outer: str, inner: str) -> bool:
    network = _unmapped(_network(outer))
    address = _address(inner)
    other = _unmapped(ip_network(address) if address is not None else _network(inner))
    if isinstance(network, IPv4Network) and isinstance(other, IPv4Network):
        return other.subnet_of(network)
    return isinstance(network, IPv6Network) and isinstance(other, IPv6Network) and other.subnet_of(network)


@host(ANY)
def cidr_is_valid(text: Any) -> bool:
    """Say whether it is a CIDR."""
    try:
        _network(TEXT(text))
    except BuiltinError:
        return False
    return True


@host(TEXT)
def cidr_expand(text: str) -> RegoSet:
    """List every address of a network."""
    network = _network(text)
    if network.num_addresses > MOST_MEMBERS:
        raise Unanswerable(f"net.cidr_expand of more than {MOST_MEMBERS} addresses")
    return RegoSet([_shown(address) for address in network])


@host(ANY, ANY)
def cidr_contains_matches(networks: Any, addresses: Any) -> RegoSet:
    """Pair the index of each network with that of each address or network inside it."""
    found = []
    for outer, place in _indexed(networks):
        for inner, other in _indexed(addresses):
            if _contains(outer, inner):
                found.append([place, other])
    return RegoSet(found)


@host(ANY)
def cidr_merge(networks: Any) -> RegoSet:
    """Join networks that overlap or touch."""
    if not isinstance(networks, (list, RegoSet)):
        raise BuiltinError
    parsed = [_mergeable(TEXT(text)) for text in networks]
    v4 = [network for network in parsed if isinstance(network, IPv4Network)]
    v6 = [network for network in parsed if isinstance(network, IPv6Network)]
    if v4 and v6:
        raise Unanswerable("net.cidr_merge of IPv4 and IPv6 together")
    return RegoSet([str(network) for network in (*collapse_addresses(v4), *collapse_addresses(v6))])


def _mergeable(text: str) -> Network:
    address = _address(text)
    if address is None:
        return _network(text)
    if isinstance(address, IPv6Address):
        raise BuiltinError
    raise Unanswerable("net.cidr_merge of an address without a length")  # Go gives it its class's mask


def _indexed(operand: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(operand, str):
        yield operand, operand
    elif isinstance(operand, dict):
        yield from ((_first(value), key) for key, value in operand.items())
    elif isinstance(operand, RegoSet):
        yield from ((_first(value), value) for value in operand)
    elif isinstance(operand, list):
        yield from ((_first(value), at) for at, value in enumerate(operand))
    else:
        raise BuiltinError


def _first(value: Any) -> str:
    if isinstance(value, list) and value:
        return TEXT(value[0])
    return TEXT(value)


def _shown(address: IPv4Address | IPv6Address) -> str:
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(inner or address)


NETWORKS: dict[str, Host] = {
    "net.cidr_contains_matches": cidr_contains_matches,
    "net.cidr_expand": cidr_expand,
    "net.cidr_is_valid": cidr_is_valid,
    "net.cidr_merge": cidr_merge,
}
