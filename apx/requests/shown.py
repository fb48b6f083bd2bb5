"""What operators see of requests, at the command line and over the control API: never a body or a header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from apx.requests.model import DeadLetter, Progress, Result

_HIDDEN = ("body", "headers")


def request(found: Result | Progress) -> dict[str, Any]:
    """Show what is known of a request."""
    shown = {name: getattr(found, name) for name in found.__struct_fields__ if name not in _HIDDEN}
    if isinstance(found, Result):
        shown["error"] = msgspec.to_builtins(found.error)
    return {**shown, "done": isinstance(found, Result)}


def lanes(depth: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Show how much waits or runs, by product and org."""
    return [{"product": product, "org": org, "requests": n} for (product, org), n in sorted(depth.items())]


def dead_letter(letter: DeadLetter) -> dict[str, Any]:
    """Show why a request was given up."""
    return {
        "id": letter.id,
        "request": letter.envelope.id,
        "product": letter.envelope.product,
        "org": letter.envelope.org,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "at_ms": letter.at_ms,
    }
