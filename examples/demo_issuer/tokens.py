"""Tokens of the demo issuer, for trying and testing the example product `staff-payslips`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jwt

ISSUER = "https://issuer.demo.localhost"
AUDIENCE = "apx-demo"
KEY_ID = "demo-1"
_PRIVATE_KEY = Path(__file__).with_name("DEMO-private-key.pem")


def sign_token(
    subject: str,
    *,
    org: str,
    now: float,
    roles: Sequence[str] = (),
    lifetime_s: float = 3600.0,
    audience: str = AUDIENCE,
) -> str:
    """Return a signed token (ES256) of one person of an org; `now` in seconds since the epoch."""
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": subject,
        "org": org,
        "roles": list(roles),
        "iat": int(now),
        "exp": int(now + lifetime_s),
    }
    return str(jwt.encode(claims, _PRIVATE_KEY.read_text(), algorithm="ES256", headers={"kid": KEY_ID}))
