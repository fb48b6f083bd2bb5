"""One wasmtime engine for every policy of the process: settings, native code, and the ticks that end loops."""

from __future__ import annotations

import hashlib
import os
import platform
import threading
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from weakref import WeakValueDictionary

from wasmtime import Config, Engine, Module, WasmtimeError

from apx.errors import ReleaseRejected
from apx.policy.storage import PrivateFolder

TICK_S = 0.004
"""How often the epoch moves while policies run; a policy is stopped at most two ticks after its time."""

_IDLE_TICKS = 250
_SETTINGS = "epoch;speed;mvp+bulk+multivalue+signext;stack=512k;v1"
"""What `_configured` chooses; part of the name of every file with native code."""


def engine() -> Engine:
    """Return this process's one engine: modules and instances of two do not go together. For any thread."""
    with _engine_lock:  # `cache` alone lets two threads make one each
        return _engine()


_engine_lock = threading.Lock()


@cache
def _engine() -> Engine:
    """Return the process's engine."""
    return Engine(_configured())


def _configured() -> Config:
    config = Config()
    config.epoch_interruption = True
    config.cranelift_opt_level = "speed"
    config.max_wasm_stack = 512 * 1024
    # opa's modules use none of these, and what is not there cannot be attacked.
    config.wasm_threads = False
    config.wasm_tail_call = False
    config.wasm_relaxed_simd = False
    config.wasm_simd = False
    config.wasm_multi_memory = False
    config.wasm_memory64 = False
    config.wasm_component_model = False
    return config


_modules: WeakValueDictionary[bytes, Module] = WeakValueDictionary()


def load_module(wasm: bytes, cache_dir: Path | None) -> Module:
    """Return the module's native code: from this process, from the cache, or compiled (150 ms).

    Products that share a policy share its code. Raises `ReleaseRejected` when it is not a module.
    """
    digest = hashlib.sha256(wasm).digest()
    module = _modules.get(digest)
    if module is None:
        module = _from_cache(wasm, digest, PrivateFolder(cache_dir)) if cache_dir else _compile(wasm)
        _modules[digest] = module
    return module


def forget_modules() -> None:
    """Let modules be loaded anew; those in use go on."""
    _modules.clear()


def _compile(wasm: bytes) -> Module:
    if not wasm.startswith(b"\0asm"):  # wasmtime-py would take other text for WAT
        raise ReleaseRejected("the policy is not a WebAssembly module: it does not begin with \\0asm")
    try:
        return Module(engine(), wasm)
    except WasmtimeError as error:
        raise ReleaseRejected(f"the policy is not a WebAssembly module that APX runs: {error}") from error


def _from_cache(wasm: bytes, digest: bytes, folder: PrivateFolder) -> Module:
    key = "\0".join((digest.hex(), version("wasmtime"), platform.machine(), _SETTINGS))
    name = f"{hashlib.sha256(key.encode()).hexdigest()}.native"
    held = folder.read(name)
    if held is not None:
        try:
            return Module.deserialize(engine(), held)
        except WasmtimeError:  # another wasmtime or other CPU features: compile anew
            pass
    module = _compile(wasm)
    folder.write(name, bytes(module.serialize()))
    return module


class Ticker:
    """A thread that moves the engine's epoch while policies run, and sleeps when none did for a second."""

    def __init__(self) -> None:
        self.used = False
        self.parked = True
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Let time pass from here on; called when `parked` is seen."""
        with self._lock:
            self.parked = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="policy-epoch", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        move = engine().increment_epoch
        idle = 0
        while True:
            time.sleep(TICK_S)
            move()
            idle = 0 if self.used else idle + 1
            self.used = False
            if idle < _IDLE_TICKS:
                continue
            idle = 0
            self._wake.clear()
            self.parked = True
            if not self.used:  # a decision that began just now saw `parked` and wakes us, or is seen here
                self._wake.wait()
            self.parked = False


ticker = Ticker()
os.register_at_fork(after_in_child=ticker.__init__)  # type: ignore[misc]  # a child has no threads: begin anew
