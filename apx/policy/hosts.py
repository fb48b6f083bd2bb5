"""What a module calls back into: builtins, aborts, prints, and the deadline.

The callbacks are made once for the process; wasmtime hands each the token of the instance that it serves.
"""

from __future__ import annotations

import ctypes
import itertools
import time
from typing import TYPE_CHECKING, Any

from wasmtime import FuncType, ValType

from apx.policy import capi, values
from apx.policy.builtins import HOST, BuiltinContext, BuiltinError
from apx.policy.engine import ticker
from apx.policy.stopped import Stopped

if TYPE_CHECKING:
    from apx.policy.instance import Instance

_I32 = ValType.i32()
IMPORTS: dict[str, FuncType] = {
    "opa_abort": FuncType([_I32], []),
    "opa_println": FuncType([_I32], []),
    **{f"opa_builtin{n}": FuncType([_I32] * (n + 2), [_I32]) for n in range(5)},
}
"""The functions that a module may import from `env`, with their types; beside them, one memory."""

_OPERAND_BYTES = 1_048_576
_OUT_OF_MEMORY = "opa_malloc: failed"
_tokens = itertools.count(1)
_active: dict[int, Calls] = {}


class Calls:
    """One instance's side of the calls between module and host."""

    def __init__(self, instance: Instance, time_limit_s: float) -> None:
        self.token = next(_tokens)
        self.builtins: dict[int, str] = {}
        self.cause: BaseException | None = None
        """What to raise in place of the trap that a host function answered with."""
        self.depth = 0
        """Host functions now running."""
        self.first_tick_cpu_s: float | None = None
        self._context = BuiltinContext(now_ns=0)
        self._instance = instance
        self._limit_s = time_limit_s
        _active[self.token] = self

    def begin(self, now_ns: int) -> None:
        """Prepare for one evaluation."""
        self._context.now_ns = now_ns

    def forget(self) -> None:
        """Answer no more calls."""
        _active.pop(self.token, None)

    def builtin(self, number: int, operands: list[int]) -> int:
        """Answer a builtin; 0 is undefined."""
        name = self.builtins[number]
        try:
            raw = values.dump(HOST[name](self._context, *(self._read(operand) for operand in operands)))
        except BuiltinError:
            return 0
        except values.Unanswerable as error:
            raise Stopped("policy-trap", f"{name}: {error}") from error
        place = self._instance.call("opa_malloc", len(raw))
        self._instance.write(place, raw)
        return self._instance.call("opa_value_parse", place, len(raw))

    def stop(self, address: int) -> None:
        """Take an abort's reason."""
        message = self._instance.text(address).decode(errors="replace")
        self.fail("policy-memory" if message == _OUT_OF_MEMORY else "policy-trap", message)

    def fail(self, reason: str, detail: str) -> None:
        """Set what the evaluation ends with."""
        self.cause = Stopped(reason, detail)

    def is_over(self) -> bool:
        """Say whether the CPU time is used up; asked at each tick.

        CPU time and not the clock's: a busy machine must not deny what a quiet one allows.
        """
        now = time.thread_time()
        if self.first_tick_cpu_s is None:
            self.first_tick_cpu_s = now
        return now - self.first_tick_cpu_s >= self._limit_s

    def _read(self, address: int) -> Any:
        place = self._instance.call("opa_value_dump", address)
        return values.parse(self._instance.text(place, _OPERAND_BYTES).decode())


def _guarded(token: int, arguments: Any, count: int, answer: Any) -> int:
    """Run a host function; whatever it raises becomes a trap, because ctypes would print it and go on."""
    calls = _active[token]
    calls.depth += 1
    try:
        raw = ctypes.cast(arguments, ctypes.POINTER(ctypes.c_uint32))
        answer(calls, raw, count)
    except BaseException as error:  # noqa: BLE001  raised again by the instance, outside the callback
        calls.cause = error
    finally:
        calls.depth -= 1
    return capi.new_trap("host") if calls.cause is not None else 0


def _builtin(calls: Calls, raw: Any, count: int) -> None:
    raw[0] = calls.builtin(raw[0], [raw[4 * at] for at in range(2, count)])


def _abort(calls: Calls, raw: Any, _: int) -> None:
    calls.stop(raw[0])


def _print(_calls: Calls, _raw: Any, _: int) -> None:
    """Ignore a print: opa leaves them out of what it builds."""


def _function(answer: Any) -> Any:
    def called(token: int, _caller: Any, arguments: Any, count: int) -> int:
        return _guarded(token, arguments, count, answer)

    return capi.HostFunction(called)


def _deadline(_context: Any, token: int, delta: Any, _kind: Any) -> int:
    calls = _active.get(token)
    if calls is None or calls.is_over():
        if calls is not None:
            calls.fail("policy-timeout", "the policy took too long")
        return capi.new_error("deadline")
    ticker.used = True  # or it would park while this one decision runs on
    delta[0] = 1
    return 0


HOST_FUNCTIONS: dict[str, Any] = {
    "opa_abort": _function(_abort),
    "opa_println": _function(_print),
    **{f"opa_builtin{n}": _function(_builtin) for n in range(5)},
}
on_deadline = capi.DeadlineFunction(_deadline)
