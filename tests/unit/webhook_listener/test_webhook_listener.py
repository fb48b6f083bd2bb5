from __future__ import annotations

import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from examples.webhook_listener.server import Listener, serving
from examples.webhook_listener.signature import NotGenuine, check, key_of

KEY = b"k" * 24
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
NOW = 1_900_000_000
BODY = b'{"type":"request.succeeded"}'


def signed(body: bytes = BODY, *, message: str = "msg_1", at: int = NOW, key: bytes = KEY) -> dict[str, str]:
    mac = hmac.digest(key, f"{message}.{at}.".encode() + body, "sha256")
    return {
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def test_the_example_of_the_standard_is_genuine() -> None:
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/python/tests/test_webhooks.py
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert check(headers, b'{"test": 2432232314}', key, 1614265330) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW - 301)},
        {"webhook-timestamp": str(NOW + 301)},
        {"webhook-timestamp": "²"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,ü"},
        {"webhook-signature": signed(key=b"another")["webhook-signature"]},
        {"webhook-signature": signed()["webhook-signature"].replace("v1,", "v2,")},
    ],
)
def test_what_was_changed_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(NotGenuine):
        check(signed() | changes, BODY, KEY, NOW)


def test_another_body_is_refused() -> None:
    with pytest.raises(NotGenuine):
        check(signed(), BODY + b" ", KEY, NOW)


def test_one_of_two_signatures_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = f"{signed(key=b'another')['webhook-signature']} {headers['webhook-signature']}"
    assert check(headers, BODY, KEY, NOW) == "msg_1"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!", base64.b64encode(KEY).decode()])
def test_what_is_no_secret_is_told(secret: str) -> None:
    with pytest.raises(NotGenuine):
        key_of(secret)


@asynccontextmanager
async def listening(said: list[str]) -> AsyncIterator[str]:
    async with serving(Listener(SECRET, lambda: NOW, said.append)) as port:
        yield f"http://127.0.0.1:{port}/"


async def posted(url: str, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=BODY, headers=headers) as answer:
        return answer.status


async def test_a_message_is_shown_once_however_often_it_comes() -> None:
    said: list[str] = []
    async with listening(said) as url:
        assert [await posted(url, signed()), await posted(url, signed())] == [204, 204]
    assert said == [f"msg_1 {BODY.decode()}"]


async def test_a_strangers_message_is_refused() -> None:
    said: list[str] = []
    async with listening(said) as url:
        assert await posted(url, signed(key=b"stranger")) == 401
    assert said == ["refused: no signature fits."]
