"""What a receiver of webhooks checks before it believes one: https://github.com/standard-webhooks/standard-webhooks."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

PREFIX = "whsec_"
OLDEST_S = 300


class NotGenuine(Exception):
    """A message that did not come from who has the secret, or came too late; the text is for people."""


def key_of(secret: str) -> bytes:
    """Return the key that a secret holds. Raises `NotGenuine`."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not (secret.startswith(PREFIX) and key):
        raise NotGenuine(f"a secret begins with {PREFIX}, and base64 follows.")
    return key


def check(headers: Mapping[str, str], body: bytes, key: bytes, now_s: float) -> str:
    """Return the id of a message that is genuine: the same id again is the same message. Raises `NotGenuine`.

    `headers` by lower-case name. While a secret is rotated there are two signatures, and one that fits is enough.
    """
    message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message or not (stamp.isascii() and stamp.isdecimal()):
        raise NotGenuine("it has no webhook-id, or no webhook-timestamp.")
    if abs(now_s - int(stamp)) > OLDEST_S:
        raise NotGenuine("it is older than five minutes, or from the future.")
    signed = hmac.digest(key, f"{message}.{stamp}.".encode() + body, "sha256")
    wanted = f"v1,{base64.b64encode(signed).decode()}".encode()
    given = headers.get("webhook-signature", "").encode("latin-1", "replace").split()
    if not any(hmac.compare_digest(wanted, one) for one in given):
        raise NotGenuine("no signature fits.")
    return message
