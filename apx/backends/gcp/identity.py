"""Who this process is to Google: its credentials, for calls that no client of Google's makes.

google-auth blocks while it looks for credentials and while it renews a token, so both happen in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import google.auth
from google.auth.credentials import Credentials
from google.auth.transport.requests import Request

from apx.backends.gcp.connection import CALL_TIMEOUT_S

READ_MONITORING = "https://www.googleapis.com/auth/monitoring.read"


def found() -> Credentials:
    """Look for this process's credentials, as all of Google's clients do. Blocks; raises google-auth's errors."""
    credentials, _ = google.auth.default(scopes=[READ_MONITORING])
    return credentials


class Identity:
    """Credentials, looked for once; a token is renewed some minutes before it ends.

    Both methods raise google-auth's errors: `unavailable` says what they mean.
    """

    def __init__(self, find: Callable[[], Credentials] = found) -> None:
        """Nothing is looked for yet."""
        self._find = find
        self._found: Credentials | None = None
        self._one = asyncio.Lock()

    async def credentials(self) -> Credentials:
        """Return the credentials."""
        async with self._one:
            if self._found is None:
                self._found = await asyncio.to_thread(self._find)
            return self._found

    async def headers(self, method: str, url: str) -> dict[str, str]:
        """Return what a request carries to be this process's."""
        credentials, headers = await self.credentials(), dict[str, str]()
        async with self._one:
            await asyncio.to_thread(credentials.before_request, _request(), method, url, headers)
        return headers


def _request() -> Callable[..., Any]:
    """Return what google-auth asks for tokens with; its own bound is two minutes."""
    return partial(Request(), timeout=CALL_TIMEOUT_S)
