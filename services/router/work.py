"""What of a request is work that this process does, and what is waiting, which costs it nothing."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Self

from apx.admission.admit import LiveProduct
from apx.admission.keys import KeyRecord
from apx.admission.shedding import Shedder
from services.router import prefer
from services.router.asgi import Send


class Work:
    """Work that a shedder took on, until the end of the `with` block or, if that comes first, the answer's first byte.

    A client that is slow to read its answer keeps nobody out.
    """

    __slots__ = ("_done", "_priority", "_shedder")

    def __init__(self, shedder: Shedder, priority: int) -> None:
        self._shedder = shedder
        self._priority = priority
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Leave, once."""
        if not self._done:
            self._done = True
            self._shedder.leave(self._priority)

    def until_sent(self, send: Send) -> Send:
        """Return a `send` with whose first message the work ends."""

        async def ending(message: MutableMapping[str, Any]) -> None:
            self.end()
            await send(message)

        return ending


def waits(path: str, headers: Mapping[str, str], longest_wait_s: float) -> bool:
    """Tell whether a request for a result may stay, for the result or for events."""
    return prefer.parse(headers.get("prefer"), longest_wait_s).wait_s > 0 or path.endswith("/events")


def priority_of(caller: KeyRecord, product: LiveProduct) -> int:
    """Return the priority of a caller's plan; 0 of one that has none, who is refused in the end."""
    plan = product.plans.get(caller.plans.get(product.name, ""))
    return 0 if plan is None else plan.priority
