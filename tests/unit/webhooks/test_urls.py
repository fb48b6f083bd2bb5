from __future__ import annotations

import pytest

from apx.errors import Unsupported
from apx.webhooks.urls import judge_url, leads_to_loopback

REFUSED = (
    "http://hooks.example/x",
    "file:///etc/passwd",
    "gopher://hooks.example/x",
    "https://user:pass@hooks.example/x",
    "https://hooks.example@127.0.0.1/x",
    "https://127.0.0.1/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0177.0.0.1/x",
    "https://0.0.0.0/x",
    "https://0/x",
    "https://[::1]/x",
    "https://[::]/x",
    "https://10.1.2.3/x",
    "https://172.16.0.1/x",
    "https://192.168.0.1/x",
    "https://100.64.0.1/x",
    "https://100.100.100.200/x",
    "https://169.254.169.254/latest/meta-data",
    "https://metadata.google.internal/computeMetadata",
    "https://metadata.google.internal./x",
    "https://[fd00:ec2::254]/x",
    "https://[fe80::1]/x",
    "https://[fe80::1%25eth0]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:10.0.0.1]/x",
    "https://[::127.0.0.1]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://[64:ff9b::a9fe:a9fe]/x",
    "https://[2002:7f00:1::1]/x",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/x",
    "https://localhost/x",
    "https://hooks.localhost/x",
    "https://hooks/x",
    "https://hooks.example./x",
    "https://hooks。example/x",
    "https://127。0。0。1/x",
    "https://hooks.example:22/x",
    "https://hooks.example:25/x",
    "https://hooks.example:80/x",
    "https://hooks.example:0/x",
    "https://hooks.example:65536/x",
    "https://hooks.example/x?token=1",
    "https://hooks.example/x#y",
    "https://hooks.example\\@127.0.0.1/x",
    "https://hooks.example/a/../b",
    "https://hooks.example/x//",
    "hooks.example/x",
    "",
    "https://hooks.example/" + "x" * 2048,
)
"""No one of these may be a webhook's address; all but the last few lead off the public internet, or might."""


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_is_not_public_and_plain_is_refused_when_it_is_saved(url: str) -> None:
    with pytest.raises(Unsupported, match=r"^url: "):
        judge_url(url, loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example",
        "https://hooks.example/",
        "https://hooks.example/a/b/",
        "https://hooks.example:8443/x",
        "https://xn--bcher-kva.example/x",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
    ],
)
def test_a_public_address_over_tls_is_taken(url: str) -> None:
    judge_url(url, loopback=False)


def test_no_answer_says_more_of_one_name_than_of_another() -> None:
    """Whoever asks learns nothing about names: none is looked up."""
    judge_url("https://does-not-exist.invalid.example/x", loopback=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9100/hook", "http://[::1]:9100/", "https://127.0.0.2/x"])
def test_this_machines_own_addresses_are_taken_only_where_a_setting_says_so(url: str) -> None:
    judge_url(url, loopback=True)
    assert leads_to_loopback(url)
    with pytest.raises(Unsupported):
        judge_url(url, loopback=False)


@pytest.mark.parametrize("url", ["http://localhost:9100/x", "http://10.0.0.1/x", "http://[::ffff:127.0.0.1]/x"])
def test_the_setting_opens_neither_names_nor_other_private_addresses(url: str) -> None:
    assert not leads_to_loopback(url)
    with pytest.raises(Unsupported):
        judge_url(url, loopback=True)


def test_what_is_no_address_leads_nowhere() -> None:
    assert not leads_to_loopback("nonsense")
