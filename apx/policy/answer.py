"""A policy's answer, read strictly: whatever is not exactly a decision is a deny."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from apx.policy.decision import Decision

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]{0,4094}[\x21-\x7e])?)?")
RESERVED = frozenset(
    """
    accept-encoding authorization cache-control connection content-encoding content-length content-type cookie date
    expect forwarded host idempotency-key keep-alive prefer proxy-authenticate proxy-authorization proxy-connection
    retry-after server te traceparent tracestate trailer transfer-encoding upgrade vary via x-api-key x-real-ip
    x-request-id
    """.split()  # noqa: SIM905  a table of words reads better than a list one item to a line
)
"""Hop-by-hop (RFC 9110, 7.6.1), framing, how the body that was judged is to be read, credentials, what APX sets itself,
and what the edge keeps of an admission: a policy that names one of these is told so, not half obeyed."""
RESERVED_PREFIXES = ("x-apx-", "x-envoy-", "x-forwarded-", "ratelimit", "proxy-")
_RUNTIME_REASONS = frozenset(f"policy-{kind}" for kind in ("trap", "timeout", "undefined", "malformed", "memory"))
_MOST_HEADERS = 32


class Malformed(Exception):
    """The answer is not a decision; the text says why."""


class Undefined(Exception):
    """The policy has no answer for this input."""


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    allow: bool
    reason: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,64}$")]
    detail: Annotated[str, msgspec.Meta(max_length=1_024)] = ""
    headers: dict[str, str] = {}
    cost: Annotated[float, msgspec.Meta(ge=0.0, le=1e9)] = 1.0
    cost_usd: Annotated[float, msgspec.Meta(ge=0.0, le=1e9)] | None = None


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    result: _Answer


_decoder = msgspec.json.Decoder(list[_Entry])


def read_answer(result_set: bytes) -> Decision:
    """Read what `opa_eval` gave: `[]`, or `[{"result": decision}]`. Raises `Undefined` and `Malformed`."""
    try:
        entries = _decoder.decode(result_set)
    except msgspec.DecodeError as error:
        raise Malformed(str(error)) from error
    if not entries:
        raise Undefined
    if len(entries) > 1:
        raise Malformed("there is more than one answer")
    answer = entries[0].result
    if answer.reason in _RUNTIME_REASONS:
        raise Malformed(f"the reason {answer.reason} is the runtime's own")
    if answer.headers:
        _check_headers(answer.headers)
    return Decision(
        allow=answer.allow,
        reason=answer.reason,
        detail=answer.detail,
        headers=answer.headers,
        cost=answer.cost,
        cost_usd=answer.cost_usd,
    )


def _check_headers(headers: dict[str, str]) -> None:
    if len(headers) > _MOST_HEADERS:
        raise Malformed(f"there are more than {_MOST_HEADERS} headers")
    seen = set()
    for name, value in headers.items():
        lower = name.lower()
        if _TOKEN.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise Malformed(f"{name!r} or its value is not a header (RFC 9110, section 5)")
        if lower in RESERVED or lower.startswith(RESERVED_PREFIXES):
            raise Malformed(f"the header {lower} is not for policies to set")
        if lower in seen:
            raise Malformed(f"the header {lower} is set twice")
        seen.add(lower)
