"""One request that shows the platform working."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec


class Example(msgspec.Struct, frozen=True):
    """A request that the demo products accept."""

    method: str
    path: str
    body: Any


ORDER = Example("POST", "/orders/", {"item": "lamp", "quantity": 2, "amount_usd": 40})


def curl(edge: str, key: str, example: Example = ORDER) -> str:
    """Return the command that sends the example, ready to paste into a shell."""
    body = msgspec.json.encode(example.body).decode()
    return (
        f"curl -i -X {example.method} {edge}{example.path} -H {shlex.quote(f'Authorization: Bearer {key}')} "
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
