"""Which addresses are public: the judgement when a catalog is validated, and again when a worker connects.

`ipaddress.is_global` is not enough: it is true for `64:ff9b::a9fe:a9fe` (NAT64 of the metadata address) and
`2002:7f00:1::1` (6to4 of loopback). An address that carries an IPv4 address inside is judged by that one, and whatever
is not in IPv6's one block of global unicast (2000::/3) is not public.
Sources: IANA's special-purpose registries (RFC 6890 and updates), RFC 6052 (NAT64), RFC 5214 (ISATAP).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers' NAT; holds a cloud's metadata address, 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's host agent, though the block around it is public
            "169.254.0.0/16",  # link-local; holds the metadata address 169.254.169.254
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
"""What of IPv4 is somebody's own or nobody's."""
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
            "2001:db8::/32",
            "2002::/16",  # 6to4: leads to whatever IPv4 address it carries, and nobody serves an API there
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
_CARRIES_IPV4 = tuple(map(IPv6Network, ("::ffff:0:0/96", "64:ff9b::/96")))
_ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(ip: str | IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the public internet; False for what is no address at all."""
    try:
        address = ip_address(ip) if isinstance(ip, str) else ip
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_4)
    return _is_public_6(address)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    number = int(address)
    carried = IPv4Address(number & 0xFFFF_FFFF)
    if any(address in network for network in _CARRIES_IPV4):
        return is_public(carried)
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP and not is_public(carried):
        return False
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def read_ipv4(host: str) -> IPv4Address | None:
    """Read a host as resolvers and browsers do: `2130706433`, `0x7f.1` and `0177.0.0.1` are 127.0.0.1.

    Returns None for a host that is a name. Raises ValueError for what looks like a number and is none (WHATWG URL).
    """
    parts = host.removesuffix(".").split(".")
    if not _looks_like_number(parts[-1]):
        return None
    if len(parts) > _IPV4_PARTS:
        raise ValueError(host)
    *high, low = (_number(part) for part in parts)
    if any(part > _BYTE for part in high) or low >= 256 ** (_IPV4_PARTS + 1 - len(parts)):
        raise ValueError(host)
    return IPv4Address(low + sum(part << (24 - 8 * at) for at, part in enumerate(high)))


_IPV4_PARTS = 4
_BYTE = 0xFF
_LONGEST_NUMBER = 32


def _looks_like_number(part: str) -> bool:
    return part.isascii() and (part.isdigit() or part[:2].lower() == "0x")


def _number(part: str) -> int:
    """Read decimal, octal (leading 0) or hexadecimal (leading 0x). Raises ValueError."""
    if not part.isascii() or not part.isalnum() or len(part) > _LONGEST_NUMBER:
        raise ValueError(part)
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    return int(part, 8) if part[0] == "0" and len(part) > 1 else int(part)
