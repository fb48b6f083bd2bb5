"""Policies and modules that mean harm, or that somebody damaged, deny or are refused; the process goes on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from wasmtime import wat2wasm

from apx.errors import ReleaseRejected
from apx.policy.compile import compile_policy
from apx.policy.evaluate import Evaluator
from apx.policy.opa import Opa

Make = Callable[..., Evaluator]

EXPORTS = """
  (func (export "builtins") (result i32) i32.const 64)
  (func (export "opa_json_dump") (param i32) (result i32) i32.const 64)
  (func (export "opa_value_dump") (param i32) (result i32) i32.const 64)
  (func (export "opa_malloc") (param i32) (result i32) i32.const 1024)
  (func (export "opa_value_parse") (param i32 i32) (result i32) i32.const 1)
  (func (export "opa_heap_ptr_get") (result i32) i32.const 2048)
  (func (export "opa_heap_ptr_set") (param i32))
  (data (i32.const 64) "{}\\00")
  (data (i32.const 128) "[{\\22result\\22:{\\22allow\\22:true,\\22reason\\22:\\22ok\\22}}]\\00")
"""


def _module(
    *,
    evaluate: str = "i32.const 128",
    memory: str = '(import "env" "memory" (memory 2))',
    extra: str = "",
    version: tuple[int, int] = (1, 3),
) -> bytes:
    """Assemble a module with opa's exports whose `opa_eval` does as told."""
    return bytes(
        wat2wasm(
            f"""(module {memory}
  (global (export "opa_wasm_abi_version") i32 (i32.const {version[0]}))
  (global (export "opa_wasm_abi_minor_version") i32 (i32.const {version[1]}))
  (func (export "opa_eval") (param i32 i32 i32 i32 i32 i32 i32) (result i32) {evaluate})
  {EXPORTS} {extra})"""
        )
    )


@pytest.fixture
def policy(opa: Opa, cache_dir: Path, tmp_path: Path) -> Make:
    """Make an evaluator of one rule's body: allow if it holds."""

    def make(body: str, *, extra: str = "", time_limit_ms: float = 10.0) -> Evaluator:
        (tmp_path / "gate.rego").write_text(
            'package gate\ndefault decision := {"allow": false, "reason": "no"}\n'
            f'decision := {{"allow": true, "reason": "ok"}} if {{ {body} }}\n{extra}'
        )
        compiled = compile_policy(opa, tmp_path, "gate", cache_dir=cache_dir)
        return Evaluator(compiled.wasm, compiled.data, pure=False, time_limit_ms=time_limit_ms)

    return make


def test_a_hand_made_module_with_the_right_shape_decides() -> None:
    evaluator = Evaluator(_module(), b"{}", pure=False)
    assert evaluator.decide(b"{}").allow
    evaluator.close()


def test_an_endless_loop_is_stopped_and_denies() -> None:
    evaluator = Evaluator(_module(evaluate="(loop br 0) unreachable"), b"{}", pure=False)
    took = []
    for _ in range(5):
        began = time.thread_time()
        assert evaluator.decide(b"{}").reason == "policy-timeout"
        took.append(time.thread_time() - began)
    assert min(took) < 0.03
    evaluator.close()


def test_a_policy_that_takes_too_long_denies_and_the_next_decision_is_unaffected(policy: Make) -> None:
    evaluator = policy(
        "input.slow; every i in r { every j in r { i != j + 5000 } }", extra="r := numbers.range(1, 3000)\n"
    )
    assert evaluator.decide(b'{"slow": true}').reason in {"policy-timeout", "policy-memory"}
    assert evaluator.decide(b"{}").reason == "no"
    evaluator.close()


def test_a_policy_that_takes_too_much_memory_denies(policy: Make) -> None:
    body = "input.big; count([[i, j] | some i in numbers.range(1, 2000); some j in numbers.range(1, 2000)]) > 0"
    evaluator = policy(body, time_limit_ms=5_000)
    assert evaluator.decide(b'{"big": true}').reason == "policy-memory"
    assert evaluator.decide(b"{}").reason == "no"
    evaluator.close()


def test_a_trap_denies_and_the_next_decision_is_unaffected() -> None:
    trap_on_long_input = "local.get 4 i32.const 2 i32.gt_u if unreachable end i32.const 128"
    evaluator = Evaluator(_module(evaluate=trap_on_long_input), b"{}", pure=False)
    assert evaluator.decide(b'{"a":1}').reason == "policy-trap"
    assert evaluator.decide(b"{}").allow
    evaluator.close()


def test_unbounded_recursion_denies() -> None:
    recursion = "(func $r (param i32) (result i32) local.get 0 call $r i32.const 1 i32.add)"
    evaluator = Evaluator(_module(evaluate="i32.const 0 call $r", extra=recursion), b"{}", pure=False)
    assert evaluator.decide(b"{}").reason == "policy-trap"
    evaluator.close()


@pytest.mark.parametrize("address", ["-1", "131071", "0x7fffffff", "131072", "2048"])
def test_an_answer_outside_the_memory_or_without_an_end_denies(address: str) -> None:
    fill = "i32.const 2048 i32.const 255 i32.const 129024 memory.fill"
    evaluator = Evaluator(_module(evaluate=f"{fill} i32.const {address}"), b"{}", pure=False)
    assert evaluator.decide(b"{}").failed
    evaluator.close()


def test_deep_json_never_harms(policy: Make) -> None:
    evaluator = policy("count([1 | walk(input, _)]) > 500", time_limit_ms=1_000)
    for depth in (10, 600, 1_000, 1_023, 5_000, 200_000):
        decision = evaluator.decide(b"[" * depth + b"1" + b"]" * depth)
        assert decision.allow is False or depth >= 500
    assert evaluator.decide(b"[]").reason == "no"
    evaluator.close()


@pytest.mark.parametrize(
    ("wasm", "because"),
    [
        (b"", "does not begin"),
        (b"\0asm", "not a WebAssembly module"),
        (b"(module)", "does not begin"),
        (_module()[:200], "not a WebAssembly module"),
        (_module(extra="").replace(b"opa_malloc", b"opa_malloX"), "does not export opa_malloc"),
        (_module(version=(2, 0)), "ABI 2.0"),
        (_module(version=(1, 1)), "ABI 1.1"),
        (_module(memory='(import "env" "memory" (memory 4096))'), "cap is 256"),
        (_module(extra="(func $s (loop br 0)) (start $s)"), "policy-timeout"),
        (_module(extra="(func $s unreachable) (start $s)"), "policy-trap"),
        (_module(memory='(import "env" "memory" (memory 2)) (import "wasi" "fd_write" (func))'), "wasi.fd_write"),
        (_module(memory='(import "env" "memory" (memory 2)) (import "env" "opa_abort" (func))'), "env.opa_abort"),
        (_module(memory='(memory (export "memory") 2)'), "memory"),
    ],
)
def test_a_module_that_is_not_opas_is_refused_when_it_is_loaded(wasm: bytes, because: str) -> None:
    with pytest.raises(ReleaseRejected, match=because):
        Evaluator(wasm, b"{}", pure=True)


def test_mutants_of_a_good_module_are_refused_or_sane(opa: Opa, cache_dir: Path) -> None:
    good = compile_policy(opa, Path(__file__).parent / "rego", "gate", cache_dir=cache_dir).wasm
    chosen = random.Random(7)  # noqa: S311  the same mutants each time
    mutants = []
    for _ in range(10):
        mutant = bytearray(good)
        for _ in range(chosen.choice([1, 1, 8, 64])):
            mutant[chosen.randrange(8, len(mutant))] = chosen.randrange(256)
        mutants.append(bytes(mutant[: chosen.choice([None, None, chosen.randrange(len(good))])]).hex())
    script = """
        import json, sys
        from apx.errors import ReleaseRejected
        from apx.policy.evaluate import Evaluator
        for mutant in json.load(sys.stdin):
            try:
                evaluator = Evaluator(bytes.fromhex(mutant), b"{}", pure=False)
            except ReleaseRejected:
                print("refused")
                continue
            for document in (b"{}", b'{"user": "alice"}', b"[1,2,3]"):
                evaluator.decide(document)
            print("decided")
            evaluator.close()
    """
    completed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=json.dumps(mutants).encode(),
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr.decode()[-2_000:]
    outcomes = [line for line in completed.stdout.decode().splitlines() if line in ("refused", "decided")]
    assert len(outcomes) == len(mutants)
    assert {"refused", "decided"} == set(outcomes)


def test_memory_stays_flat_over_many_decisions(policy: Make) -> None:
    body = 'regex.match("^a+$", input.text); count({x | some x in input.list}) > 1; upper(input.text) != "B"'
    evaluator = policy(body, time_limit_ms=1_000)
    documents = [json.dumps({"text": "a" * (n % 50), "list": list(range(n % 20)), "n": n}).encode() for n in range(200)]
    for document in documents * 5:
        evaluator.decide(document)
    before, memory = psutil.Process().memory_info().rss, evaluator.memory_bytes()
    for document in documents * 50:
        evaluator.decide(document)
    assert evaluator.memory_bytes() == memory
    assert psutil.Process().memory_info().rss - before < 8 * 1024 * 1024
    evaluator.close()
