"""Which of a client's header fields go on to the backend."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from apx.requests.execution_call import HOP_BY_HOP
from apx.rollout.testers import HEADER

_OURS = frozenset(
    {
        HEADER,  # chooses an arm for a tester
        "accept-encoding",  # results are kept as the backend sends them
        "authorization",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "idempotency-key",
        "prefer",
        "traceparent",
        "tracestate",
        "x-api-key",
        "x-real-ip",
        "x-request-id",
    }
)
_DROPPED = HOP_BY_HOP | _OURS
_PREFIXES = ("x-apx-", "x-envoy-", "x-forwarded-")


def end_to_end(headers: Mapping[str, str], added: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the client's end-to-end fields without credentials (RFC 9110, section 7.6.1), then what is `added`."""
    added = {name.lower(): value for name, value in added.items()}
    fields = [(name, value) for name, value in headers.items() if name not in added and _goes_on(name)]
    named = headers.get("connection")
    if named is not None:
        dropped = {name.strip().lower() for name in named.split(",")}
        fields = [field for field in fields if field[0] not in dropped]
    return (*fields, *added.items())


@lru_cache(maxsize=1024)
def _goes_on(name: str) -> bool:
    return name not in _DROPPED and not name.startswith(_PREFIXES)
