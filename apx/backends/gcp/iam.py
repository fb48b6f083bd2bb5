"""Proving who this process is to Memorystore: the password is an access token of Google's IAM.

Source: https://cloud.google.com/memorystore/docs/valkey/about-iam-auth
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import google.auth
from google.auth.transport.requests import Request
from valkey.credentials import CredentialProvider

from apx.backends.gcp.connection import unavailable

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class Token(Protocol):
    """What of Google's credentials is used."""

    token: str | None

    @property
    def valid(self) -> bool:
        """Whether the token can be used, a few minutes before its end no longer."""
        ...

    def refresh(self, request: object) -> None:
        """Get a new one; blocks."""
        ...


class IamCredentials(CredentialProvider):
    """The password of each new connection; one token serves all for about an hour.

    Raises `Unavailable` when Google gives none, `Misconfigured` when this process has no identity.
    """

    def __init__(self, find: Callable[[], Token]) -> None:
        self._find = find
        self._token: Token | None = None
        self._lock = threading.Lock()

    def get_credentials(self) -> tuple[str]:
        """Return the token. Asking for a new one blocks for some milliseconds, once an hour."""
        with self._lock, unavailable("asking for a token for the store"):
            if self._token is None:
                self._token = self._find()
            if not self._token.valid:
                self._token.refresh(Request())
            return (self._token.token or "",)


def this_process() -> Token:
    """Return the credentials of the identity that this process runs as."""
    found, _ = google.auth.default(scopes=[SCOPE])
    token: Token = found
    return token
