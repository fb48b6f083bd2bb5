"""Find out whether a module is one that opa built, and whether it starts within its bounds."""

from __future__ import annotations

from pathlib import Path

from wasmtime import FuncType, MemoryType, Module

from apx.errors import ReleaseRejected
from apx.policy.engine import load_module
from apx.policy.hosts import IMPORTS
from apx.policy.instance import FUNCTIONS, Instance

MAX_MEMORY_BYTES = 16 * 1024 * 1024
START_LIMIT_S = 1.0
"""CPU time to start a module and read its data: 0.5 ms is usual."""

_ABI = 1
_ABI_MINOR = range(2, 4)
"""One-shot `opa_eval` came with 1.2."""
_PARAMETERS = {
    "builtins": 0,
    "opa_eval": 7,
    "opa_heap_ptr_get": 0,
    "opa_heap_ptr_set": 1,
    "opa_json_dump": 1,
    "opa_malloc": 1,
    "opa_value_dump": 1,
    "opa_value_parse": 2,
}


def load(wasm: bytes, cache_dir: Path | None = None) -> Module:
    """Return a module whose imports and exports are opa's. Raises `ReleaseRejected`."""
    module = load_module(wasm, cache_dir)
    for wanted in module.imports:
        if wanted.module != "env" or not _is_offered(str(wanted.name), wanted.type):
            name = f"{wanted.module}.{wanted.name}"
            raise ReleaseRejected(f"the policy's module imports {name}, which APX does not offer as that type")
    exports = {export.name: export.type for export in module.exports}
    for name in FUNCTIONS:
        kind = exports.get(name)
        if not isinstance(kind, FuncType) or not _is_opas(name, kind):
            raise ReleaseRejected(f"the policy's module does not export {name} as opa does")
    return module


def start(module: Module, data: bytes, *, max_memory_bytes: int, time_limit_s: float) -> Instance:
    """Start a module with its data. Raises `ReleaseRejected`."""
    try:
        instance = Instance(module, data, max_memory_bytes=max_memory_bytes, time_limit_s=time_limit_s)
    except Exception as error:  # Stopped, or whatever a module that is not opa's makes of the set-up
        raise ReleaseRejected(f"the policy's module does not start: {error}") from error
    major, minor = instance.abi
    if major == _ABI and minor in _ABI_MINOR:
        return instance
    instance.close()
    raise ReleaseRejected(f"the policy's module has ABI {major}.{minor}; APX runs 1.2 and 1.3")


def required_builtins(wasm: bytes, cache_dir: Path | None = None) -> tuple[str, ...]:
    """Return the host builtins that a module calls, sorted. Raises `ReleaseRejected`."""
    instance = start(load(wasm, cache_dir), b"{}", max_memory_bytes=MAX_MEMORY_BYTES, time_limit_s=START_LIMIT_S)
    try:
        return instance.builtins
    finally:
        instance.close()


def _is_offered(name: str, kind: object) -> bool:
    if name == "memory":
        return isinstance(kind, MemoryType)
    return isinstance(kind, FuncType) and name in IMPORTS and _shape(kind) == _shape(IMPORTS[name])


def _is_opas(name: str, kind: FuncType) -> bool:
    results = 0 if name == "opa_heap_ptr_set" else 1
    return _shape(kind) == (["i32"] * _PARAMETERS[name], ["i32"] * results)


def _shape(kind: FuncType) -> tuple[list[str], list[str]]:
    return [str(value) for value in kind.params], [str(value) for value in kind.results]
