"""Decisions: a request's input goes in as JSON, a `Decision` comes out, whatever happens in between."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import orjson
import structlog

from apx.clock import Clock, SystemClock
from apx.policy.answer import Malformed, Undefined, read_answer
from apx.policy.decision import Decision
from apx.policy.instance import Instance
from apx.policy.module import MAX_MEMORY_BYTES, load, start
from apx.policy.stopped import Stopped

_log = structlog.get_logger()
_MEMO_INPUT_BYTES = 4_096
_MEMO_BYTES = 8 * 1024 * 1024
"""Of one policy's remembered decisions, about: a caller chooses the inputs, and 10,000 long ones would be 50 MB."""
_MEMO_ENTRY_BYTES = 512
"""What an entry takes beside its input."""
_MOST_LIVE = 1_000
_live: OrderedDict[Evaluator, None] = OrderedDict()
"""Evaluators whose module is running, the one that was asked longest ago first.

A running module takes about 0.1 MB; with 10,000 products most sleep, and start again in a millisecond or two.
"""


class Evaluator:
    """One policy, ready to decide. For one thread at a time.

    Raises `ReleaseRejected` when `wasm` is not a module that opa built, or `data` not JSON; after that nothing raises.
    """

    def __init__(
        self,
        wasm: bytes,
        data: bytes,
        *,
        pure: bool,
        max_memory_bytes: int = MAX_MEMORY_BYTES,
        time_limit_ms: float = 10.0,
        memo_entries: int = 10_000,
        clock: Clock | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self._module = load(wasm, cache_dir)
        self._data = data
        self._max_memory_bytes = max_memory_bytes
        self._time_limit_s = time_limit_ms / 1000
        self._clock = clock or SystemClock()
        self._instance: Instance | None = None
        self._closed = False
        self._begin()
        self.evaluated = 0
        """Decisions that were worked out and not remembered."""
        self._memo: dict[bytes, Decision] = {}
        self._older: dict[bytes, Decision] = {}
        self._memo_half = memo_entries // 2 if pure else 0
        self._memo_bytes = 0

    def decide(self, input_json: bytes) -> Decision:
        """Decide. Never raises: what goes wrong is a deny with `failed`."""
        known = self._memo.get(input_json)
        if known is not None:
            return known
        known = self._older.get(input_json)
        if known is None:
            known = self._evaluate(input_json)
            if known.failed or not self._memo_half or len(input_json) > _MEMO_INPUT_BYTES:
                return known
        if not self._closed:
            self._remember(input_json, known)
        return known

    def close(self) -> None:
        """Free the memory. A later `decide`, of a request that was under way, starts again and keeps nothing."""
        self._closed = True
        self._sleep()
        self._memo.clear()
        self._older.clear()

    def memo_size(self) -> int:
        """Count the decisions that are remembered."""
        return len(self._memo) + len(self._older)

    def memory_bytes(self) -> int:
        """Return how large the running module's memory is; 0 while it sleeps."""
        return self._instance.memory_bytes() if self._instance is not None else 0

    def _remember(self, input_json: bytes, decision: Decision) -> None:
        """Keep the decision; when half is full, what was not asked for since is forgotten."""
        self._memo[input_json] = decision
        self._memo_bytes += len(input_json) + _MEMO_ENTRY_BYTES
        if len(self._memo) >= self._memo_half or self._memo_bytes >= _MEMO_BYTES // 2:
            self._older, self._memo, self._memo_bytes = self._memo, {}, 0

    def _begin(self) -> None:
        """Make sure that the module starts, and leave it running where there is room.

        Releases are prepared in other threads than the one that decides: whatever decides now is not put to sleep here.
        """
        instance = self._start()
        if len(_live) < _MOST_LIVE:
            self._instance = instance
            _live[self] = None
        else:
            instance.close()

    def _wake(self) -> Instance:
        """Return the running module; start it, and stop the one that was idle longest, when need be."""
        if self._instance is None:
            self._instance = self._start()
            _live[self] = None
            if len(_live) > _MOST_LIVE:
                _live.popitem(last=False)[0]._sleep()  # noqa: SLF001  another of this class
        else:
            _live.move_to_end(self)
        return self._instance

    def _start(self) -> Instance:
        return start(self._module, self._data, max_memory_bytes=self._max_memory_bytes, time_limit_s=self._time_limit_s)

    def _sleep(self) -> None:
        _live.pop(self, None)
        if self._instance is not None:
            self._instance.close()
            self._instance = None

    def _evaluate(self, input_json: bytes) -> Decision:
        self.evaluated += 1
        try:
            orjson.loads(input_json)  # opa's parser would also take Rego's sets
            return read_answer(self._wake().evaluate(input_json, int(self._clock.time() * 1e9)))
        except Undefined:
            return _failed("policy-undefined")
        except (Malformed, orjson.JSONDecodeError) as error:
            _log.warning("policy_malformed", detail=str(error))
            return _failed("policy-malformed")
        except Exception as error:  # noqa: BLE001  fail closed, whatever it was
            return self._give_up(error)
        finally:
            if self._closed:
                self._sleep()

    def _give_up(self, error: Exception) -> Decision:
        reason = error.reason if isinstance(error, Stopped) else "policy-trap"
        _log.warning("policy_failed", reason=reason, detail=str(error))
        self._sleep()
        return _failed(reason)


def _failed(reason: str) -> Decision:
    return Decision(allow=False, reason=reason, failed=True)
