"""One call of a backend: what is asked, what comes back, and the ways it can fail.

BackendFailure
├── Retryable:  ConnectFailed  ConnectionLost  CallTimedOut
└── Permanent:  ResponseTooLarge  AddressBlocked  ProtocolBroken
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from apx.catalog.model import ProductSpec, RetryOn
from apx.errors import ApxError, Permanent, Retryable
from apx.requests.model import Envelope

Headers = tuple[tuple[str, str], ...]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    },
)
"""RFC 9110 section 7.6.1, with what old proxies still send."""
_CREDENTIALS = frozenset({"authorization", "cookie", "x-api-key"})
_SET_BY_CALL = frozenset(
    {
        "accept-encoding",
        "content-length",
        "expect",
        "host",
        "idempotency-key",
        "traceparent",
        "x-request-id",
    },
)
_NOT_SENT = HOP_BY_HOP | _CREDENTIALS | _SET_BY_CALL
_NOT_KEPT = HOP_BY_HOP | {"alt-svc", "content-length", "date", "server", "set-cookie", "set-cookie2"}


class BackendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call."""

    method: str
    url: str
    """Absolute, percent-encoded as it goes out."""
    headers: Headers
    body: bytes
    timeout_s: float
    """For the whole call: waiting for a connection, connecting, the answer's last byte."""
    connect_timeout_s: float
    max_response_bytes: int
    """Of the body as it comes over the wire; nothing is unpacked."""
    allow_private: bool


class BackendAnswer(Protocol):
    """The head of an answer, and its body as it comes."""

    status: int
    headers: Headers
    """End-to-end headers that a client may get, names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces, once. Raises `BackendFailure`."""
        ...


class BackendClient(Protocol):
    """Calls backends.

    Follows no redirect, keeps no cookie, uses no proxy of the environment, unpacks nothing. Unless the call allows
    private addresses, every address of the name must be public, and the connection goes to an address so judged.
    Leaving the context before the body's end closes the connection, so that the backend can see it.
    """

    def call(self, request: BackendRequest) -> AbstractAsyncContextManager[BackendAnswer]:
        """Send `request`. Raises `BackendFailure` on entering, while the body is read, or on leaving (time-out)."""
        ...


class BackendFailure(ApxError):
    """A call brought no whole answer."""

    retry_on: RetryOn | None = None
    """The word of a product's `retry.on` that covers it."""


class ConnectFailed(BackendFailure, Retryable):
    """The name does not resolve, or nobody accepts the connection."""

    code = "backend-connect"
    retry_on = "connect"
    public = "The backend could not be reached."


class ConnectionLost(BackendFailure, Retryable):
    """The connection ended before the answer did; the backend may have acted."""

    code = "backend-connection-lost"
    retry_on = "connect"
    public = "The backend closed the connection before its answer was complete."


class CallTimedOut(BackendFailure, Retryable):
    """The whole answer did not come in time."""

    code = "backend-timeout"
    retry_on = "timeout"
    public = "The backend did not answer in time."


class ResponseTooLarge(BackendFailure, Permanent):
    """The body is over the product's `max_response_bytes`."""

    code = "backend-too-large"
    public = "The backend's answer is larger than this product allows."


class AddressBlocked(BackendFailure, Permanent):
    """The name leads, or also leads, to an address that is not public."""

    code = "backend-address-blocked"
    public = "The backend's address is not allowed."


class ProtocolBroken(BackendFailure, Permanent):
    """What came is not HTTP, or not an answer to this call."""

    code = "backend-protocol"
    public = "The backend's answer could not be understood."


def request_of(envelope: Envelope, spec: ProductSpec, *, timeout_s: float, traceparent: str) -> BackendRequest:
    """Say what is sent for `envelope`: no credentials, no hop-by-hop headers, the request's id as Idempotency-Key."""
    backend = spec.backend
    return BackendRequest(
        method=envelope.method,
        url=_joined(backend.url, envelope.path, envelope.query),
        headers=_sent_headers(envelope, backend.headers, traceparent),
        body=envelope.body,
        timeout_s=timeout_s,
        connect_timeout_s=backend.connect_timeout_s,
        max_response_bytes=backend.max_response_bytes,
        allow_private=backend.allow_private,
    )


def kept_headers(headers: Headers) -> Headers:
    """Return what a client may see of a backend's headers (names in lower case already)."""
    named = _named_by_connection(headers)
    return tuple((name, value) for name, value in headers if name not in _NOT_KEPT and name not in named)


def _sent_headers(envelope: Envelope, fixed: dict[str, str], traceparent: str) -> Headers:
    named = _named_by_connection(envelope.headers)
    own = {name.lower(): value for name, value in fixed.items()}
    sent = [
        (name, value)
        for name, value in envelope.headers
        if (lower := name.lower()) not in _NOT_SENT and lower not in named and lower not in own
    ]
    sent += own.items()
    sent += (
        ("idempotency-key", envelope.id),
        ("x-request-id", envelope.id),
        ("accept-encoding", "identity"),
    )
    if traceparent:
        sent.append(("traceparent", traceparent))
    return tuple(sent)


def _named_by_connection(headers: Headers) -> frozenset[str]:
    """Return the names that a `Connection` header makes hop-by-hop."""
    values = [value for name, value in headers if name.lower() == "connection"]
    return frozenset(part.strip().lower() for value in values for part in value.split(",")) if values else frozenset()


def _joined(base: str, path: str, query: str) -> str:
    """Return the address of a call; without a path it is the backend's own, to the letter."""
    if not path:
        return f"{base}?{query}" if query else base
    url = base.rstrip("/") + (path if path.startswith("/") else "/" + path)
    return f"{url}?{query}" if query else url
