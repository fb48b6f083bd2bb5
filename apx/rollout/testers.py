"""The signed header by which a tester chooses an arm: `apx-arm: <product>.<arm>.<expiry>.<mac>`.

The mac is HMAC-SHA256, cut to 128 bits, over the rest (RFC 2104); the expiry is in seconds since the epoch. What
testers send is not counted: they are not the traffic that a candidate is judged by.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode

from apx.rollout.model import Arm

HEADER = "apx-arm"
_MAC_BYTES = 16
_LONGEST = 160


class ArmTokens:
    """Mints and reads the header's value under a secret that all routers share."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"apx-arm/v1", hashlib.sha256)

    def mint(self, product: str, arm: Arm, expires_s: int) -> str:
        """Return a value that chooses an arm of a product until `expires_s`."""
        said = f"{product}.{arm}.{expires_s}"
        return f"{said}.{self._mac(said)}"

    def read(self, value: str, product: str, now_s: float) -> Arm | None:
        """Return the arm that a value chooses for a product; None for anything but a genuine one of this product."""
        said, _, mac = value.rpartition(".")
        if len(value) > _LONGEST or not value.isascii() or not hmac.compare_digest(mac, self._mac(said)):
            return None
        of, _, rest = said.partition(".")
        arm, _, expires_s = rest.partition(".")
        if of != product or not expires_s.isdecimal() or int(expires_s) <= now_s:
            return None
        return "candidate" if arm == "candidate" else "stable"

    def _mac(self, said: str) -> str:
        return (
            urlsafe_b64encode(hmac.digest(self._secret, said.encode(), hashlib.sha256)[:_MAC_BYTES])
            .decode()
            .rstrip("=")
        )
