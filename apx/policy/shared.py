"""Policies that many products share: compiled code, data, memory and memo are there once.

Sharing changes no answer: a decision depends on the policy, its data and the input alone, and a product's name is part
of its input. Ten thousand products under a few policies start in the time and memory of a few.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from apx.policy.decision import Decision
from apx.policy.evaluate import Evaluator

Start = Callable[[bytes, bytes, bool], Evaluator]
"""(wasm, data, pure) → a policy that is ready to decide. Raises `ReleaseRejected`."""
_Key = tuple[bytes, bytes, bool]


class SharedPolicies:
    """Gives out policies; one that nobody holds any more is closed. For any thread."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._lock = threading.Lock()
        self._held: dict[_Key, tuple[Evaluator, int]] = {}

    def take(self, wasm: bytes, data: bytes, *, pure: bool) -> SharedPolicy:
        """Return the policy, started where it is the first of its kind. Raises `ReleaseRejected`."""
        key = hashlib.sha256(wasm).digest(), hashlib.sha256(data).digest(), pure
        with self._lock:
            evaluator, holders = self._held.get(key) or (self._start(wasm, data, pure), 0)
            self._held[key] = evaluator, holders + 1
        return SharedPolicy(evaluator, lambda: self._give_back(key))

    def __len__(self) -> int:
        return len(self._held)

    def _give_back(self, key: _Key) -> None:
        with self._lock:
            evaluator, holders = self._held[key]
            if holders > 1:
                self._held[key] = evaluator, holders - 1
                return
            del self._held[key]
        evaluator.close()


class SharedPolicy:
    """One product's hold on a policy."""

    def __init__(self, evaluator: Evaluator, give_back: Callable[[], None]) -> None:
        self._evaluator = evaluator
        self._give_back: Callable[[], None] | None = give_back

    @property
    def evaluated(self) -> int:
        """Return how many decisions were worked out, not remembered, for all who share it."""
        return self._evaluator.evaluated

    def decide(self, input_json: bytes) -> Decision:
        """Decide. Never raises."""
        return self._evaluator.decide(input_json)

    def close(self) -> None:
        """Let go of it; safe to repeat."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
