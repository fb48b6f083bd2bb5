"""Google's identity-aware proxy, from both sides: the keys that it signs with, and a token that it lets through.

Sources: https://cloud.google.com/iap/docs/signed-headers-howto,
https://cloud.google.com/iap/docs/authentication-howto#authenticating_with_a_self-signed_jwt
"""

from __future__ import annotations

import time
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

import google.auth
import google.auth.transport.requests
import jwt
import structlog
from google.auth.iam import Signer
from google.auth.jwt import encode

from apx.admission.assertions import Keys
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.iam import SCOPE

KEYS_URL = "https://www.gstatic.com/iap/verify/public_key-jwk"
FETCH_TIMEOUT_S = 5.0
MOST_BYTES = 65_536
TOKEN_S = 3600
"""As long as the proxy takes."""

_log = structlog.get_logger(__name__)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def fetch_keys(url: str = KEYS_URL) -> Keys | None:
    """Return the proxy's keys by their ids; None when they cannot be had. Blocks for `FETCH_TIMEOUT_S` at most."""
    opener = build_opener(_NoRedirect())
    try:
        with opener.open(Request(url), timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310 -- a constant, or a test's own
            found = jwt.PyJWKSet.from_json(answer.read(MOST_BYTES).decode())
    except (OSError, ValueError, RecursionError, jwt.PyJWTError) as error:
        _log.warning("iap.keys-unavailable", error=type(error).__name__, detail=str(error)[:200])
        return None
    return {str(key.key_id): key.key for key in found.keys}


def token_for(url: str) -> str:
    """Return a token by which the identity of this process comes through the proxy at `url`, for an hour.

    Raises `Misconfigured`, `Unavailable`.
    """
    with unavailable("asking for a token for the control API"):
        credentials: Any = google.auth.default(scopes=[SCOPE])[0]
        request = google.auth.transport.requests.Request()
        credentials.refresh(request)
        account = str(credentials.service_account_email)
        signer: Any = Signer(request, credentials, account)  # type: ignore[no-untyped-call]
        now = int(time.time())
        claims = {"iss": account, "sub": account, "aud": f"{url}/*", "iat": now, "exp": now + TOKEN_S}
        token: bytes = encode(signer, claims)  # type: ignore[no-untyped-call]
    return token.decode()
