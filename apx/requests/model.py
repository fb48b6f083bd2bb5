"""A request's values: what is queued, what comes of it, and the states between.

    accepted ─► running ─► succeeded | failed
        │          ├─► accepted      (a retryable failure: it waits for its next attempt)
        │          └─► expired | cancelled
        └─► expired | cancelled

A terminal state is written once and never changes.
"""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["accepted", "running", "succeeded", "failed", "expired", "cancelled"]
TERMINAL: frozenset[State] = frozenset({"succeeded", "failed", "expired", "cancelled"})

INLINE_BODY_BYTES = 65_536
"""A result's body up to this size is stored with the result; a larger one goes to the blob store first."""


class Reserved(msgspec.Struct, frozen=True, array_like=True):
    """What was taken for a request from a budget's bucket; settled when it is known what the request cost."""

    bucket: str
    ends_s: float
    """Of the bucket's window."""
    usd: float


class Envelope(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One accepted request on its way to a worker (msgpack on the wire; fields are only ever appended)."""

    id: str
    org: str
    key_id: str
    product: str
    release: str
    """Digest (`sha256:…`) of the release that admitted it."""
    lane: str
    """Ordering key inside (product, org)."""
    method: str
    path: str
    """Under the product's base path, canonical, percent-encoded as it goes to the backend."""
    query: str
    headers: tuple[tuple[str, str], ...]
    """What goes to the backend: end-to-end headers of the client without credentials, plus the policy's."""
    body: bytes
    accepted_ms: int
    deadline_ms: int
    timeout_s: float
    traceparent: str = ""
    fingerprint: str = ""
    """SHA-256 (hex) of method, path, query and body; set when the client sent an Idempotency-Key."""
    idempotency: str = ""
    """Name of the create-if-absent record derived from (org, product, Idempotency-Key), or empty."""
    idempotency_ttl_s: int = 86_400
    backlog: int = 10_000
    """Most requests of this org and product that may wait."""
    plan: str = ""
    cost: float = 1.0
    """What the policy's decision counts the request as."""
    cost_usd: float | None = None
    """What the policy's decision says that it costs, else the product; None: neither does."""
    reserved: tuple[Reserved, ...] = ()
    """What of it was taken from which budgets."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request did not succeed; shown to the client (RFC 9457 `code` and `detail`)."""

    code: str
    detail: str


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The terminal state of a request and what its backend answered."""

    id: str
    org: str
    product: str
    release: str
    state: State
    accepted_ms: int
    finished_ms: int
    started_ms: int | None = None
    attempts: int = 0
    status: int | None = None
    """The backend's status, where there was an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    """The backend's end-to-end headers that the client gets: content-type, content-language, etag …"""
    body: bytes = b""
    """The backend's body, unless `blob` holds it."""
    blob: str | None = None
    """Digest (`sha256:…`) of the body in the blob store."""
    body_bytes: int = 0
    error: Problem | None = None
    retention_s: float = 86_400.0
    cost_usd: float | None = None
    """What it cost after all; None: what its envelope says."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has no result yet."""

    state: Literal["accepted", "running"]
    started_ms: int | None = None
    attempt: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a request's event stream (SSE: `id`, `event`, `data`)."""

    id: str
    """Opaque and increasing within one request; `Last-Event-ID` resumes after it."""
    kind: Literal["state", "chunk", "restart"]
    data: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one request, held by one worker under a lease."""

    envelope: Envelope
    attempt: int
    """1 for the first; a worker's crash counts."""
    fence: int
    """Grows with each lease of the lane; writes with an older one are refused."""
    crashes: int = 0
    """How many of the earlier attempts ended without a word: the lease ran out, as when a worker is killed."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was given up, with the reason; `apx dlq replay` queues it again under a new id."""

    id: str
    envelope: Envelope
    reason: str
    detail: str
    attempts: int
    at_ms: int
