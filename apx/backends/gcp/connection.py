"""What all Google adapters share: bounded calls, and errors that the domain knows.

A service that is gone, slow, over its quota or contended raises `Unavailable` within `CALL_TIMEOUT_S`; one that refuses
this identity raises `Misconfigured`. What is no fault but an answer (`NotFound`, `AlreadyExists`,
`FailedPrecondition`) passes through: its meaning is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.api_core.exceptions import (
    Aborted,
    Cancelled,
    Forbidden,
    GoogleAPICallError,
    PermissionDenied,
    RetryError,
    ServerError,
    TooManyRequests,
    Unauthenticated,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from apx.errors import Misconfigured, Unavailable

CALL_TIMEOUT_S = 5.0
"""Longest wait for one call, its repeats included."""

_REFUSED = (PermissionDenied, Unauthenticated, Forbidden, Unauthorized, DefaultCredentialsError)
_AWAY = (ServerError, TooManyRequests, Aborted, Cancelled, RetryError, RefreshError, TransportError, OSError)


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Turn the clients' errors into `Unavailable` (or `Misconfigured`, where trying again cannot help)."""
    try:
        yield
    except _REFUSED as error:
        raise Misconfigured(f"{doing}: Google refused this process: {_text(error)}") from error
    except _AWAY as error:
        raise Unavailable(f"{doing}: Google does not answer: {_text(error)}") from error


def _text(error: Exception) -> str:
    """Return what the service said, without the details that quote the call."""
    said = error.message if isinstance(error, GoogleAPICallError) else str(error)
    return f"{type(error).__name__}: {str(said)[:200]}"
