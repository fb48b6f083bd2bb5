"""Idempotency-Key: what is a key, and what makes two requests the same."""

from __future__ import annotations

import pytest

from apx.requests.idempotency import fingerprint, key_name, parse_key


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        (r'"a\"b\\c"', r"a\"b\\c".replace(r"\"", '"').replace(r"\\", "\\")),
        ('a"b', 'a"b'),
        ("a b", "a b"),
        ("  padded\t", "padded"),
        ("x" * 255, "x" * 255),
        ('"' + "x" * 255 + '"', "x" * 255),
    ],
)
def test_a_key_is_read(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        "   ",
        '""',
        '"',
        '"open',
        '"a"b"',
        '"a";p=1',
        r'"\x"',
        "x" * 256,
        "a\x00b",
        "a\x7fb",
        "a\nb",
        "schlüssel",
        "\x1b[0m",
    ],
)
def test_what_is_no_key_is_refused(header: str) -> None:
    assert parse_key(header) is None


def test_each_org_and_product_has_keys_of_its_own() -> None:
    names = {key_name(org, product, key) for org in ("a", "b") for product in ("a", "b") for key in ("a", "b")}
    assert len(names) == 8


def test_names_do_not_run_into_one_another() -> None:
    assert key_name("ab", "c", "d") != key_name("a", "bc", "d")
    assert key_name("a", "bc", "d") != key_name("a", "b", "cd")


def test_the_same_request_has_the_same_fingerprint() -> None:
    assert fingerprint("POST", "/a", "q", b"body") == fingerprint("POST", "/a", "q", b"body")


@pytest.mark.parametrize(
    "other",
    [
        ("PUT", "/a", "q", b"body"),
        ("POST", "/b", "q", b"body"),
        ("POST", "/a", "r", b"body"),
        ("POST", "/a", "q", b"bodz"),
        ("POST", "/aq", "", b"body"),
        ("POST", "/a", "qb", b"ody"),
    ],
)
def test_another_request_has_another_fingerprint(other: tuple[str, str, str, bytes]) -> None:
    assert fingerprint(*other) != fingerprint("POST", "/a", "q", b"body")
