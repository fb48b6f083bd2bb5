from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.catalog.addresses import is_public, read_ipv4

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - an address to be judged, nothing binds to it
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:100.100.100.200",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::7f00:1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:a9fe:a9fe::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2a00:1450:4001:80b:0:5efe:7f00:1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "2a00:1450:4001:80b::200e",
    "64:ff9b::808:808",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_off_the_public_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "example.com", "127.1", "1.2.3.4.5", "08.8.8.8", "::g"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_an_address_carried_inside_another_is_never_more_public_than_itself(address: IPv4Address) -> None:
    number = int(address)
    carriers = [0xFFFF << 32 | number, number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1]
    assert not any(is_public(IPv6Address(carrier)) for carrier in carriers) or is_public(address)


@settings(deadline=None)
@given(st.ip_addresses())
def test_nothing_that_the_library_calls_private_is_public(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert not is_public(address) or str(address).startswith("64:ff9b::")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1."])
def test_every_way_to_write_an_ipv4_address_is_read(host: str) -> None:
    assert read_ipv4(host) == IPv4Address("127.0.0.1")


@pytest.mark.parametrize("host", ["example.com", "localhost", "1.example", "0xcafe.example"])
def test_a_name_is_not_read_as_a_number(host: str) -> None:
    assert read_ipv4(host) is None


@pytest.mark.parametrize(
    "host", ["256.0.0.1", "1.2.3.4.5", "4294967296", "0x100000000", "08.1.1.1", "1..1", "0xzz", "1_0.0.0.1"]
)
def test_a_number_that_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_ipv4(host)
