from __future__ import annotations

import os
import time

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from apx.errors import Misconfigured
from apx.webhooks.signing import Vault, new_secret, signature, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'


def test_the_vector_of_the_standard_is_signed_as_it_says() -> None:
    signed = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, BODY)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_standards_own_library_takes_what_is_signed() -> None:
    secret = new_secret(os.urandom)
    headers = signed_headers([secret], "msg_1", int(time.time()), BODY)
    assert standardwebhooks.Webhook(secret).verify(BODY, headers) == {"test": 2432232314}
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(BODY + b" ", headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new_secret(os.urandom)).verify(BODY, headers)
    old = signed_headers([secret], "msg_1", int(time.time()) - 301, BODY)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(BODY, old)


def test_each_of_two_secrets_verifies_while_both_sign() -> None:
    before, after = new_secret(os.urandom), new_secret(os.urandom)
    headers = signed_headers([after, before], "msg_1", int(time.time()), BODY)
    for secret in (before, after):
        standardwebhooks.Webhook(secret).verify(BODY, headers)


def test_a_secret_has_256_bits_behind_its_prefix() -> None:
    assert new_secret(lambda size: b"\0" * size) == "whsec_" + "A" * 43 + "="


@given(st.text(max_size=100))
def test_a_sealed_secret_is_read_back(secret: str) -> None:
    vault = Vault(b"k" * 32)
    assert vault.open("wh_1", vault.seal("wh_1", secret)) == secret


def test_what_is_sealed_shows_nothing_and_differs_each_time() -> None:
    vault = Vault(b"k" * 32)
    sealed = [vault.seal("wh_1", SECRET) for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert SECRET.removeprefix("whsec_").encode() not in sealed[0]


@pytest.mark.parametrize(
    ("key", "webhook_id", "cut"),
    [(b"x" * 32, "wh_1", 0), (b"k" * 32, "wh_2", 0), (b"k" * 32, "wh_1", 1), (b"k" * 32, "wh_1", 60)],
)
def test_nothing_opens_what_was_sealed_under_another_key_for_another_webhook_or_changed(
    key: bytes, webhook_id: str, cut: int
) -> None:
    sealed = Vault(b"k" * 32).seal("wh_1", SECRET)
    with pytest.raises(Misconfigured, match="the file `webhooks`"):
        Vault(key).open(webhook_id, sealed[: len(sealed) - cut])
