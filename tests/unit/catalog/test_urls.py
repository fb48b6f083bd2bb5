from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apx.catalog.urls import UrlRefused, read_url


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "path"),
    [
        ("http://orders.example", "http", "orders.example", 80, ""),
        ("https://Orders.Example/v2/orders", "https", "orders.example", 443, "/v2/orders"),
        ("http://8.8.8.8:8080", "http", "8.8.8.8", 8080, ""),
        ("HTTPS://[2a00:1450:4001:80b::200e]:8443/a", "https", "2a00:1450:4001:80b::200e", 8443, "/a"),
        ("http://xn--bcher-kva.example", "http", "xn--bcher-kva.example", 80, ""),
    ],
)
def test_an_address_is_taken_apart(text: str, scheme: str, host: str, port: int, path: str) -> None:
    url = read_url(text)
    assert (url.scheme, url.host, url.port, url.path, url.private) == (scheme, host, port, path, False)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "demo.localhost",
        "orders",
        "orders.svc.cluster.local",
        "db.internal",
        "127.0.0.1",
        "[::1]",
        "[fd00:ec2::254]",
    ],
)
def test_a_host_that_says_it_is_private_is(host: str) -> None:
    assert read_url(f"http://{host}:9000/a").private


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "url-characters"),
        ("http://a b", "url-characters"),
        ("http://a.example/\n", "url-characters"),
        ("http:///a", "url-host"),
        ("http://:80", "url-host"),
        ("http://[::1", "url-host"),
        ("http://::1/", "url-host"),
        ("http://-a.example", "url-host"),
        ("http://a..example", "url-host"),
        ("http://%6cocalhost", "url-host"),
        ("http://a.example:", "url-port"),
        ("http://a.example:+80", "url-port"),
        ("http://a.example:0080000", "url-port"),
        ("http://a.example\\@b.example", "url-query"),
        ("http://a.example#@b.example", "url-query"),
        ("http://a.example@b.example", "url-user"),
        ("gopher://a.example", "url-scheme"),
        ("//a.example", "url-malformed"),
        ("http://a.example//b", "url-path"),
        ("http://a.example/b%2e%2e/c", "url-path"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text: str, code: str) -> None:
    with pytest.raises(UrlRefused) as raised:
        read_url(text)
    assert raised.value.code == code


@settings(deadline=None)
@given(st.ip_addresses(v=4), st.sampled_from(["{}", "0x{:x}", "0{:o}"]))
def test_no_way_to_write_a_number_hides_an_address(address: object, form: str) -> None:
    text = form.format(int(address))  # type: ignore[call-overload]  # hypothesis gives one union for both versions
    with pytest.raises(UrlRefused, match=rf"(is the IPv4 address {address}|looks like an IPv4 address)"):
        read_url(f"http://{text}")
