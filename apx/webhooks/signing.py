"""Signatures of deliveries, as Standard Webhooks has them, and how their secrets are kept.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apx.errors import Misconfigured

PREFIX = "whsec_"
SECRET_BYTES = 32
_NONCE_BYTES = 12


def new_secret(random: Callable[[int], bytes]) -> str:
    """Make a secret: `whsec_` and 256 bits in base64."""
    return PREFIX + b64encode(random(SECRET_BYTES)).decode()


def signature(secret: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return "v1," + b64encode(hmac.digest(b64decode(secret.removeprefix(PREFIX)), signed, "sha256")).decode()


def signed_headers(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt, with a signature by each secret."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp_s, body) for secret in secrets),
    }


class Vault:
    """Seals secrets before they are stored: AES-256-GCM under a key of this installation, bound to their webhook.

    They have to sign, so no hash of them would do.
    """

    def __init__(self, secret: bytes, random: Callable[[int], bytes] = os.urandom) -> None:
        self._cipher = AESGCM(hmac.digest(secret, b"apx.dev/webhooks/v1/seal", "sha256"))
        self._random = random

    def seal(self, webhook_id: str, secret: str) -> bytes:
        """Return what may be stored of a webhook's secret."""
        nonce = self._random(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), webhook_id.encode())

    def open(self, webhook_id: str, sealed: bytes) -> str:
        """Return the secret. Raises `Misconfigured` for what was sealed elsewhere, or for another webhook."""
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, text, webhook_id.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise Misconfigured(
                f"the secret of {webhook_id} was sealed under another key than the file `webhooks` of the secrets"
            ) from error
