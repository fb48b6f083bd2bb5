"""A gate before each product's backend: in a storm of failures calls stop, instead of multiplying.

    open ──half of the last calls failed──► shut ──its time is over──► probing ──successes──► open
                                             ▲                            │
                                             └────────a failure───────────┘

While shut, requests wait in their lanes and no attempt is spent. While probing, calls are let through by
twos: each success allows two more in flight. A circuit breaker (Nygard, "Release It!", 2007) with a slow start.
"""

from __future__ import annotations

from collections import deque

from apx.clock import Clock

WINDOW_S = 10.0
WINDOW_CALLS = 100
LEAST_CALLS = 20
"""Fewer calls than these prove no storm."""
FAILED_SHARE = 0.5
FIRST_SHUT_S = 1.0
LONGEST_SHUT_S = 30.0
PROVEN_AT = 32
"""So many allowed at a time mean that the backend is well again."""


class Gate:
    """One product's gate, in one worker."""

    def __init__(self, clock: Clock, shut: set[Gate] | None = None) -> None:
        self._clock = clock
        self._not_open = set() if shut is None else shut
        """Every gate that is not open, this one among them while it is not."""
        self._calls: deque[tuple[float, bool]] = deque(maxlen=WINDOW_CALLS)
        self._failed = 0
        self._shut_until = 0.0
        self._shut_s = FIRST_SHUT_S
        self._allowed: int | None = None
        self._in_flight = 0

    @property
    def is_open(self) -> bool:
        """True when nothing is held back."""
        return self._allowed is None

    @property
    def wait_s(self) -> float:
        """Seconds until the gate lets somebody through; 0 when it does now."""
        if self._allowed is None:
            return 0.0
        remaining = self._shut_until - self._clock.monotonic()
        if remaining > 0:
            return remaining
        return 0.0 if self._in_flight < self._allowed else FIRST_SHUT_S

    @property
    def allowed(self) -> int:
        """How many calls at a time are let through while the gate is not open."""
        return 0 if self._allowed is None or self.wait_s else self._allowed

    def enter(self) -> None:
        """Count a call that begins."""
        self._in_flight += 1

    def leave(self, *, failed: bool | None) -> None:
        """Count a call that ended; `failed` means retryable failures only, None that nothing was learnt."""
        self._in_flight -= 1
        if failed is None:
            return
        if self._allowed is None:
            self._note(failed=failed)
        elif self._clock.monotonic() < self._shut_until:
            return  # it began before the gate was shut
        elif failed:
            self._shut(min(LONGEST_SHUT_S, self._shut_s * 2))
        else:
            self._prove(self._allowed + 2)

    def _note(self, *, failed: bool) -> None:
        now = self._clock.monotonic()
        calls = self._calls
        if len(calls) == WINDOW_CALLS:
            self._failed -= calls[0][1]
        calls.append((now, failed))
        self._failed += failed
        while calls[0][0] < now - WINDOW_S:
            self._failed -= calls.popleft()[1]
        if failed and len(calls) >= LEAST_CALLS and self._failed >= len(calls) * FAILED_SHARE:
            self._shut(FIRST_SHUT_S)

    def _shut(self, seconds: float) -> None:
        self._shut_s = seconds
        self._shut_until = self._clock.monotonic() + seconds
        self._allowed = 1
        self._not_open.add(self)
        self._calls.clear()
        self._failed = 0

    def _prove(self, allowed: int) -> None:
        self._allowed = allowed if allowed < PROVEN_AT else None
        if self._allowed is None:
            self._not_open.discard(self)


class Gates:
    """Every product's gate."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gates: dict[str, Gate] = {}
        self._not_open: set[Gate] = set()

    def of(self, product: str) -> Gate:
        """Return the product's gate, made at the first call."""
        gate = self._gates.get(product)
        if gate is None:
            gate = self._gates[product] = Gate(self._clock, self._not_open)
        return gate

    def allowances(self) -> dict[str, int]:
        """Return how many calls at a time each product's gate allows now, of those that are not open."""
        if not self._not_open:
            return {}
        return {product: gate.allowed for product, gate in self._gates.items() if not gate.is_open}
