"""The few functions of wasmtime's C API that a decision goes through, with cheap argument types.

wasmtime-py's safe API takes 210 µs for a call that takes 25 µs by `wasmtime_func_call_unchecked`. Its `_ffi` module
has the structures and the loaded library; the declarations here take plain addresses, which ctypes converts fastest.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_size_t, c_uint8, c_uint64, c_void_p
from typing import Any

from wasmtime import _ffi as ffi

call = ffi.dll["wasmtime_func_call_unchecked"]
"""`(context, function, values, count, trap) -> error`, all addresses."""
call.restype = c_void_p
call.argtypes = [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p]

set_deadline = ffi.dll["wasmtime_context_set_epoch_deadline"]
"""`(context, ticks from now)`."""
set_deadline.restype = None
set_deadline.argtypes = [c_void_p, c_uint64]

HostFunction = ffi.wasmtime_func_unchecked_callback_t
DeadlineFunction = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(c_uint64), POINTER(c_uint8))
_Finalizer = ctypes.CFUNCTYPE(None, c_void_p)
NO_FINALIZER = _Finalizer()

_watch = ffi.dll["wasmtime_store_epoch_deadline_callback"]
_watch.restype = None
_watch.argtypes = [c_void_p, DeadlineFunction, c_void_p, _Finalizer]


def watch_deadline(store: Any, callback: Any, token: int) -> None:
    """Have `callback(context, token, delta, kind)` decide what happens at each deadline of a store."""
    _watch(ctypes.cast(store, c_void_p), callback, token, NO_FINALIZER)


def address_of(pointer: Any) -> int:
    """Return where a pointer points, 0 for NULL."""
    return ctypes.cast(pointer, c_void_p).value or 0


def new_trap(message: str) -> int:
    """Make a trap for a host function to return."""
    raw = message.encode()
    return address_of(ffi.wasmtime_trap_new(raw, len(raw)))


def new_error(message: str) -> int:
    """Make an error for a deadline callback to return."""
    return address_of(ffi.wasmtime_error_new(message.encode() + b"\0"))


def take_error(address: int) -> str:
    """Read an error and free it."""
    pointer = ctypes.cast(address, POINTER(ffi.wasmtime_error_t))
    text = ffi.wasm_byte_vec_t()
    ffi.wasmtime_error_message(pointer, byref(text))
    ffi.wasmtime_error_delete(pointer)
    return _take_text(text)


def take_trap(address: int) -> str:
    """Read a trap and free it."""
    pointer = ctypes.cast(address, POINTER(ffi.wasm_trap_t))
    text = ffi.wasm_byte_vec_t()
    ffi.wasm_trap_message(pointer, byref(text))
    ffi.wasm_trap_delete(pointer)
    return _take_text(text)


def _take_text(text: Any) -> str:
    raw = bytes(ffi.to_bytes(text)) if text.size else b""
    ffi.wasm_byte_vec_delete(byref(text))
    return raw.rstrip(b"\0").decode(errors="replace")
