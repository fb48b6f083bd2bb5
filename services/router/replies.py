"""Answers: problems as RFC 9457 says, rate limits as draft-ietf-httpapi-ratelimit-headers-10 says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

import msgspec

from apx.admission.admit import Refused
from apx.admission.departures import Departure
from apx.errors import ApxError, Retryable
from apx.limits.leases import Answer
from apx.limits.store import Bound
from apx.limits.windows import Window
from services.router.asgi import Reply

_JSON = ("content-type", "application/json")
_PROBLEM = ("content-type", "application/problem+json")
_TYPES = {"quota-exceeded": "https://iana.org/assignments/http-problem-types#quota-exceeded"}

Headers = tuple[tuple[str, str], ...]


def json_reply(status: int, value: object, headers: Headers = ()) -> Reply:
    """Answer with a JSON document."""
    return Reply(status=status, headers=(_JSON, *headers), body=msgspec.json.encode(value))


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    headers: Headers = (),
    *,
    errors: Sequence[Departure] = (),
) -> Reply:
    """Answer with a problem; `detail` and `errors` are for the client and hold nothing internal."""
    body = msgspec.json.encode(
        {
            "type": _TYPES.get(code, f"https://apx.dev/problems/{code}"),
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id,
        }
        | ({"errors": errors} if errors else {})
    )
    return Reply(status=status, headers=(_PROBLEM, *headers), body=body, code=code)


def refused(refusal: Refused, request_id: str) -> Reply:
    """Answer what admission refused."""
    headers: list[tuple[str, str]] = []
    if refusal.limit is not None:
        headers += limit_fields(refusal.limit)
    if refusal.retry_after_s is not None:
        headers.append(("retry-after", str(refusal.retry_after_s)))
    if refusal.allow:
        headers.append(("allow", ", ".join(refusal.allow)))
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers.append(("www-authenticate", 'Bearer realm="apx"'))
    return problem(refusal.status, refusal.code, refusal.detail, request_id, tuple(headers), errors=refusal.errors)


def failed(error: ApxError, request_id: str) -> Reply:
    """Answer an error of ours with its public text."""
    headers: Headers = (("retry-after", str(error.retry_after_s)),) if isinstance(error, Retryable) else ()
    return problem(error.status, error.code, error.public, request_id, headers)


def limit_fields(limit: Answer) -> Headers:
    """Return `RateLimit-Policy` and `RateLimit` of the limit that has the least left."""
    level, taken = limit.level, limit.taken
    return (
        _policy_field(level.name, level.rate, "micro-usd" if level.kind == "budget" else ""),
        ("ratelimit", f'"{level.name}";r={taken.remaining};t={int(taken.reset_s + 0.999)}'),
    )


@lru_cache(maxsize=1024)
def _policy_field(name: str, bound: Bound, unit: str) -> tuple[str, str]:
    length_s = bound.ends_s - bound.begins_s if isinstance(bound, Window) else bound.burst / bound.per_second
    said = f'"{name}";q={bound.burst};w={max(1, round(length_s))}'
    return "ratelimit-policy", f'{said};qu="{unit}"' if unit else said
