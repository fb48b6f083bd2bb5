"""What a policy answers: allow or deny, with a reason and obligations.

A policy's document at `data.<package>.decision` is an object:

    {"allow": true,  "reason": "ok",            "headers": {"x-tier": "gold"}, "cost": 2}
    {"allow": false, "reason": "quota-region",  "detail": "This product is not offered in your region."}
"""

from __future__ import annotations

import msgspec


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. Anything that is not a well-formed allow is a deny (fail closed)."""

    allow: bool
    reason: str
    """Stable code, `[a-z0-9-]{1,64}`. The runtime's own: `policy-trap`, `policy-timeout`, `policy-undefined`,
    `policy-malformed`, `policy-memory`."""
    detail: str = ""
    """For the client, one sentence; set by the policy."""
    headers: dict[str, str] = {}
    """Headers to set on the call to the backend."""
    cost: float = 1.0
    """Tokens to take from the limits."""
    cost_usd: float | None = None
    """What the request costs, for budgets and its usage event; None: the policy does not say."""
    failed: bool = False
    """True when the policy itself did not work (a trap, a time-out, …), as opposed to a considered deny."""
