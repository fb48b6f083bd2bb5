"""How long Envoy keeps what no new request is sent to: until every request that was routed by its name has left.

A request gets its route when its header fields are there. It may take its whole time to bring its body, then waits for
admission, and only then looks for the cluster that its route names; where that is gone, it gets a 503 (`NC`).
"""

from __future__ import annotations

from collections.abc import Iterable

from apx.clock import Clock
from services.edge.settings import EdgeSettings

MOST_KEPT = 500
"""Of each kind; Envoy takes some 60 KiB for a cluster. The longest kept go first."""
_SLACK_S = 10.0
"""A first attempt to connect that fails, and the time that Envoy's threads take to see a change."""


def grace_s(settings: EdgeSettings) -> float:
    """Return how long after a swap a request may still ask for what its route names, in seconds."""
    return settings.edge_request_timeout_s + settings.edge_admit_timeout_s + _SLACK_S


class Grace:
    """Remembers since when each name is needed by nothing new. For one thread."""

    def __init__(self, seconds: float, clock: Clock, most: int = MOST_KEPT) -> None:
        self._seconds = seconds
        self._clock = clock
        self._most = most
        self._since: dict[str, float] = {}

    def kept(self, there: Iterable[str], needed: Iterable[str]) -> set[str]:
        """Return which of the names that are `there` are to stay although they are not `needed`.

        The time of a name begins when it is first seen here so: after a restart it begins anew.
        """
        now = self._clock.monotonic()
        left = sorted(set(there).difference(needed), key=lambda name: self._since.get(name, now))
        since = {name: self._since.get(name, now) for name in left}
        self._since = {name: at for name, at in since.items() if now - at < self._seconds}
        for name in list(self._since)[: max(0, len(self._since) - self._most)]:
            del self._since[name]
        return set(self._since)
