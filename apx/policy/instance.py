"""One running policy module: its memory, its data, and calls into it without the safe API's checks.

What makes that sound: the module's imports and exports are compared with opa's when it is loaded, every address that
it returns is checked against the memory's size, and the memory is made with a maximum that it cannot outgrow.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import byref, c_void_p, memmove, string_at
from typing import Any

from wasmtime import Limits, MemoryType, Module, Store
from wasmtime import _ffi as ffi

from apx.policy import capi, values
from apx.policy.engine import engine, ticker
from apx.policy.hosts import HOST_FUNCTIONS, IMPORTS, Calls, on_deadline
from apx.policy.stopped import Stopped

PAGE_BYTES = 65_536
FUNCTIONS = (
    "builtins",
    "opa_eval",
    "opa_heap_ptr_get",
    "opa_heap_ptr_set",
    "opa_json_dump",
    "opa_malloc",
    "opa_value_dump",
    "opa_value_parse",
)
"""Exports that are called: all take and give i32, as `load` makes sure."""

_ANSWER_BYTES = 65_536
_FIRST_LOOK_BYTES = 1_024
_EVAL = struct.Struct("<i12xi12xI12xI12xI12xI12xi12x")  # seven wasmtime_val_raw_t of 16 bytes
_U32 = struct.Struct("<I")


class Instance:
    """A module with its own memory and its data loaded.

    After `Stopped` it is to be closed: its memory may be in any state. The constructor raises `Stopped` as well, and
    `Stopped("policy-trap", …)` when `data` is not JSON.
    """

    def __init__(self, module: Module, data: bytes, *, max_memory_bytes: int, time_limit_s: float) -> None:
        self._store = Store(engine())
        self._context = ffi.wasmtime_store_context(self._store.ptr())
        self._context_address = capi.address_of(self._context)
        self._trap = c_void_p()
        self._trap_address = ctypes.addressof(self._trap)
        self._calls = Calls(self, time_limit_s)
        self._buffer = ctypes.create_string_buffer(_EVAL.size)
        self._buffer_address = ctypes.addressof(self._buffer)
        self._size = 0
        try:
            self._link(module, max_memory_bytes)
            self._load(data)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the memory; safe to repeat."""
        self._calls.forget()
        self._store.close()

    def evaluate(self, document: bytes, now_ns: int) -> bytes:
        """Return the result set, as JSON. Raises `Stopped`."""
        self._calls.begin(now_ns)
        length = len(document)
        start = self._heap
        end = start + length
        if end > self._size:
            start, end = self._make_room(length)
        memmove(self._base + start, document, length)
        _EVAL.pack_into(self._buffer, 0, 0, 0, self._data, start, length, (end + 7) & ~7, 0)
        self._invoke(self._eval_address, self._buffer_address, 7)
        return self.text(*_U32.unpack_from(self._buffer))

    @property
    def builtins(self) -> tuple[str, ...]:
        """Return the host builtins that the module calls, sorted."""
        return tuple(sorted(self._calls.builtins.values()))

    def memory_bytes(self) -> int:
        """Return how large the memory has become."""
        return int(ffi.wasmtime_memory_data_size(self._context, byref(self._memory)))

    def call(self, name: str, *arguments: int) -> int:
        """Call one of `FUNCTIONS`; not for the hot path, but fit for use within a host function. Raises `Stopped`."""
        count = max(len(arguments), 1)
        raw = (ctypes.c_uint32 * (4 * count))()
        raw[: 4 * len(arguments) : 4] = list(arguments)
        self._invoke(ctypes.addressof(self._functions[name]), ctypes.addressof(raw), count)
        return raw[0]

    def text(self, address: int, most: int = _ANSWER_BYTES) -> bytes:
        """Copy the NUL-terminated text at an address of the memory. Raises `Stopped` when it has no end."""
        for look in (_FIRST_LOOK_BYTES, most):
            if address + look > self._size:
                self._size = self.memory_bytes()
            room = min(look, self._size - address)
            if room <= 0:
                break
            found, ended, _ = string_at(self._base + address, room).partition(b"\0")
            if ended:
                return found
        raise Stopped("policy-malformed", f"a text of the module has no end within {most} bytes")

    def write(self, address: int, content: bytes) -> None:
        """Put bytes into memory that the module gave. Raises `Stopped` when that is not in its memory."""
        if address + len(content) > self._size:
            self._size = self.memory_bytes()
        if address == 0 or address + len(content) > self._size:
            raise Stopped("policy-trap", "the module gave memory that it does not have")
        memmove(self._base + address, content, len(content))

    def _link(self, module: Module, max_memory_bytes: int) -> None:
        capi.watch_deadline(self._store.ptr(), on_deadline, self._calls.token)
        externs = (ffi.wasmtime_extern_t * len(module.imports))()
        for slot, wanted in zip(externs, module.imports, strict=True):
            if isinstance(wanted.type, MemoryType):
                self._memory = self._new_memory(wanted.type.limits.min, max_memory_bytes // PAGE_BYTES)
                slot.kind = ffi.WASMTIME_EXTERN_MEMORY
                slot.of.memory = self._memory
            else:
                slot.kind = ffi.WASMTIME_EXTERN_FUNC
                slot.of.func = self._new_function(str(wanted.name))
        instance = ffi.wasmtime_instance_t()
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        self._arm()
        error = ffi.wasmtime_instance_new(
            self._context, module.ptr(), externs, len(externs), byref(instance), byref(trap)
        )
        self._trap.value = capi.address_of(trap)
        self._settle(capi.address_of(error))
        self._functions = {name: self._export(instance, name).of.func for name in FUNCTIONS}
        self._eval_address = ctypes.addressof(self._functions["opa_eval"])
        self._base = capi.address_of(ffi.wasmtime_memory_data(self._context, byref(self._memory)))
        self._size = self.memory_bytes()
        self.abi = tuple(self._global(instance, f"opa_wasm_abi_{part}") for part in ("version", "minor_version"))

    def _load(self, data: bytes) -> None:
        names = values.parse(self.text(self.call("opa_json_dump", self.call("builtins"))).decode())
        self._calls.builtins = {number: name for name, number in names.items()}
        place = self.call("opa_malloc", len(data))
        self.write(place, data)
        self._data = self.call("opa_value_parse", place, len(data))
        if self._data == 0:
            raise Stopped("policy-trap", "the policy's data is not JSON")
        self._heap = self.call("opa_heap_ptr_get")
        self._size = self.memory_bytes()

    def _new_memory(self, pages: int, most: int) -> Any:
        if pages > most:
            raise Stopped("policy-memory", f"the module begins with {pages} pages of memory, the cap is {most}")
        memory = ffi.wasmtime_memory_t()
        kind = MemoryType(Limits(pages, most))
        self._settle(capi.address_of(ffi.wasmtime_memory_new(self._context, kind.ptr(), byref(memory))))
        return memory

    def _new_function(self, name: str) -> Any:
        function = ffi.wasmtime_func_t()
        ffi.wasmtime_func_new_unchecked(
            self._context,
            IMPORTS[name].ptr(),
            HOST_FUNCTIONS[name],
            self._calls.token,
            capi.NO_FINALIZER,
            byref(function),
        )
        return function

    def _export(self, instance: Any, name: str) -> Any:
        found = ffi.wasmtime_extern_t()
        raw = name.encode()
        if not ffi.wasmtime_instance_export_get(self._context, byref(instance), raw, len(raw), byref(found)):
            raise Stopped("policy-trap", f"the module does not export {name}")
        return found

    def _global(self, instance: Any, name: str) -> int:
        value = ffi.wasmtime_val_t()
        ffi.wasmtime_global_get(self._context, byref(self._export(instance, name).of.global_), byref(value))
        return int(value.of.i32)

    def _make_room(self, length: int) -> tuple[int, int]:
        """Let the module's own allocator grow the memory, so that it knows of it."""
        self.call("opa_heap_ptr_set", self._heap)
        start = self.call("opa_malloc", length)
        self._size = self.memory_bytes()
        if start < self._heap or start + length > self._size:
            raise Stopped("policy-trap", "opa_malloc gave memory that is not there")
        return start, start + length

    def _arm(self) -> None:
        """Start the time limit, unless a host function is calling back (then it runs already)."""
        if self._calls.depth:
            return
        self._calls.first_tick_cpu_s = None
        ticker.used = True
        if ticker.parked:
            ticker.start()
        capi.set_deadline(self._context_address, 1)

    def _invoke(self, function: int, arguments: int, count: int) -> None:
        self._arm()
        error = capi.call(self._context_address, function, arguments, count, self._trap_address)
        if error or self._trap.value:
            self._settle(error or 0)

    def _settle(self, error: int) -> None:
        """Raise what a wasmtime error or a trap stands for; nothing when there is neither."""
        trap = self._trap.value or 0
        if not error and not trap:
            return
        self._trap.value = None
        message = capi.take_error(error) if error else capi.take_trap(trap)
        cause, self._calls.cause = self._calls.cause, None
        raise cause if cause is not None else Stopped("policy-trap", message)
