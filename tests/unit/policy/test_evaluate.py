from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from apx.clock import ManualClock
from apx.errors import ReleaseRejected
from apx.policy import engine
from apx.policy.compile import CompiledPolicy, compile_policy
from apx.policy.evaluate import Evaluator
from apx.policy.opa import Opa

Build = Callable[[str], CompiledPolicy]

GATE = """package gate
default decision := {"allow": false, "reason": "no"}
decision := {"allow": true, "reason": "ok", "cost": input.cost, "headers": {"x-tier": input.tier}} if input.allow
"""


@pytest.fixture
def build(opa: Opa, cache_dir: Path, tmp_path: Path) -> Build:
    """Compile one module of the package `gate`."""

    def compile_text(text: str) -> CompiledPolicy:
        (tmp_path / "gate.rego").write_text(text)
        return compile_policy(opa, tmp_path, "gate", cache_dir=cache_dir)

    return compile_text


def _answering(build: Build, document: str, cache_dir: Path) -> str:
    policy = build("package gate\ndecision := input.answer")
    evaluator = Evaluator(policy.wasm, policy.data, pure=True, cache_dir=cache_dir)
    decision = evaluator.decide(f'{{"answer": {document}}}'.encode())
    evaluator.close()
    assert decision.allow is not decision.failed
    return decision.reason


def test_an_allow_carries_its_obligations(build: Build) -> None:
    policy = build(GATE)
    evaluator = Evaluator(policy.wasm, policy.data, pure=policy.pure)
    decision = evaluator.decide(b'{"allow": true, "cost": 2.5, "tier": "gold"}')
    assert (decision.allow, decision.reason, decision.cost) == (True, "ok", 2.5)
    assert decision.headers == {"x-tier": "gold"}
    assert evaluator.decide(b"{}").reason == "no"
    evaluator.close()


@pytest.mark.parametrize(
    ("priced", "reason"), [("0.03", "ok"), ("0", "ok"), ("-1", "policy-malformed"), ('"3"', "policy-malformed")]
)
def test_a_policy_may_say_what_a_request_costs(build: Build, cache_dir: Path, priced: str, reason: str) -> None:
    assert _answering(build, f'{{"allow": true, "reason": "ok", "cost_usd": {priced}}}', cache_dir) == reason


def test_the_same_input_gives_the_same_object_when_the_policy_is_pure(build: Build) -> None:
    policy = build(GATE)
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    first = evaluator.decide(b'{"allow": true, "cost": 1, "tier": "a"}')
    assert evaluator.decide(b'{"allow": true, "cost": 1, "tier": "a"}') is first
    evaluator.close()


def test_the_memo_is_bounded_and_keeps_what_is_asked_for(build: Build) -> None:
    policy = build(GATE)
    evaluator = Evaluator(policy.wasm, policy.data, pure=True, memo_entries=100)
    hot = evaluator.decide(b'{"allow": true, "cost": 1, "tier": "hot"}')
    for number in range(1_000):
        evaluator.decide(json.dumps({"n": number}).encode())
        assert evaluator.decide(b'{"allow": true, "cost": 1, "tier": "hot"}') is hot
    assert evaluator.memo_size() <= 100
    evaluator.close()


def test_the_memo_of_long_inputs_is_bounded_in_bytes(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.policy.evaluate._MEMO_BYTES", 100_000)
    policy = build(GATE)
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    for number in range(200):
        evaluator.decide(json.dumps({"n": number, "pad": "x" * 4_000}).encode())
    assert 10 < evaluator.memo_size() < 30
    evaluator.close()


def test_a_policy_that_reads_the_clock_is_not_memoised_and_sees_time_stand_still(build: Build) -> None:
    policy = build(
        """package gate
decision := {"allow": time.now_ns() == time.now_ns(), "reason": "ok", "cost": time.now_ns() / 1000000000}"""
    )
    clock = ManualClock(1_000.0)
    evaluator = Evaluator(policy.wasm, policy.data, pure=policy.pure, clock=clock)
    assert policy.pure is False
    assert evaluator.decide(b"{}").cost == 1_000.0
    clock.advance(5)
    assert evaluator.decide(b"{}").cost == 1_005.0
    evaluator.close()


def test_undefined_is_a_failed_deny(build: Build) -> None:
    policy = build('package gate\ndecision := {"allow": true, "reason": "ok"} if input.never')
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    decision = evaluator.decide(b"{}")
    assert (decision.allow, decision.reason, decision.failed) == (False, "policy-undefined", True)
    evaluator.close()


@pytest.mark.parametrize(
    "document",
    [
        '{"reason": "ok"}',
        '{"allow": true}',
        '{"allow": "true", "reason": "ok"}',
        '{"allow": 1, "reason": "ok"}',
        '{"allow": true, "reason": "Not A Code"}',
        '{"allow": true, "reason": ""}',
        '{"allow": true, "reason": "policy-timeout"}',
        '{"allow": true, "reason": "ok", "cost": -1}',
        '{"allow": true, "reason": "ok", "cost": "1"}',
        '{"allow": true, "reason": "ok", "cost": 1e400}',
        '{"allow": true, "reason": "ok", "failed": false}',
        '{"allow": true, "reason": "ok", "headers": {"x-a": 1}}',
        '{"allow": true, "reason": "ok", "headers": {"x a": "b"}}',
        '{"allow": true, "reason": "ok", "headers": {"": "b"}}',
        '{"allow": true, "reason": "ok", "headers": {"x-a": "b\\r\\nx-b: c"}}',
        '{"allow": true, "reason": "ok", "headers": {"x-a": " b"}}',
        '{"allow": true, "reason": "ok", "headers": {"x-a": "ü"}}',
        '{"allow": true, "reason": "ok", "headers": {"X-A": "1", "x-a": "2"}}',
        '{"allow": true, "reason": "ok", "headers": ["x-a"]}',
        '["allow"]',
        "true",
        "null",
        '{"allow": true, "reason": "ok", "detail": 1}',
    ],
)
def test_what_is_not_exactly_a_decision_is_malformed(build: Build, document: str, cache_dir: Path) -> None:
    assert _answering(build, document, cache_dir) == "policy-malformed"


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "content-length",
        "Authorization",
        "connection",
        "Transfer-Encoding",
        "x-apx-org",
        "X-Forwarded-For",
        "te",
        "Content-Encoding",
        "Content-Type",
        "Cookie",
        "RateLimit",
    ],
)
def test_a_policy_cannot_set_headers_that_are_not_its_own(build: Build, name: str, cache_dir: Path) -> None:
    document = f'{{"allow": true, "reason": "ok", "headers": {{"{name}": "x"}}}}'
    assert _answering(build, document, cache_dir) == "policy-malformed"


@pytest.mark.parametrize(
    "document",
    [b"", b"{", b"{1,2}", b"set()", b"NaN", b"[1] [2]", b'{"a": "\xff"}', b'"\\ud800"', b"[" * 100_000, b"\0"],
)
def test_what_is_not_json_is_denied(build: Build, document: bytes, cache_dir: Path) -> None:
    policy = build('package gate\ndecision := {"allow": true, "reason": "ok"}')
    evaluator = Evaluator(policy.wasm, policy.data, pure=True, cache_dir=cache_dir)
    decision = evaluator.decide(document)
    assert (decision.allow, decision.failed) == (False, True)
    assert evaluator.decide(b"{}").allow
    evaluator.close()


def test_a_builtin_that_the_host_cannot_answer_alike_denies(build: Build) -> None:
    policy = build('package gate\ndecision := {"allow": true, "reason": "ok", "detail": sprintf("%*d", [5, 1])}')
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    assert evaluator.decide(b"{}").reason == "policy-trap"
    evaluator.close()


def test_a_builtin_error_is_undefined_and_the_rule_falls_through(build: Build) -> None:
    policy = build(
        """package gate
default decision := {"allow": false, "reason": "fell-through"}
decision := {"allow": true, "reason": "ok"} if semver.compare(input.version, "1.0.0") >= 0"""
    )
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    assert evaluator.decide(b'{"version": "1.2.0"}').allow
    assert evaluator.decide(b'{"version": "nonsense"}').reason == "fell-through"
    assert evaluator.decide(b'{"version": 7}').reason == "fell-through"
    evaluator.close()


def test_conflicting_answers_deny(build: Build) -> None:
    policy = build(
        """package gate
decision := {"allow": true, "reason": "one"} if input.a
decision := {"allow": true, "reason": "two"} if input.b"""
    )
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    assert evaluator.decide(b'{"a": true, "b": true}').reason == "policy-trap"
    assert evaluator.decide(b'{"a": true}').reason == "one"
    evaluator.close()


def test_a_body_of_a_megabyte_is_decided(build: Build) -> None:
    policy = build('package gate\ndecision := {"allow": count(input.items) == 50000, "reason": "ok"}')
    evaluator = Evaluator(policy.wasm, policy.data, pure=True, time_limit_ms=1_000)
    body = json.dumps({"items": [f"item number {number:06d}" for number in range(50_000)]}).encode()
    assert len(body) > 1_000_000
    assert evaluator.decide(body).allow
    evaluator.close()


def test_more_evaluators_than_may_run_take_turns(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apx.policy.evaluate._MOST_LIVE", 3)
    policy = build(GATE)
    evaluators = [Evaluator(policy.wasm, policy.data, pure=False) for _ in range(8)]
    for evaluator in evaluators * 2:
        assert evaluator.decide(b"{}").reason == "no"
    for evaluator in evaluators:
        evaluator.close()


def test_preparing_a_policy_puts_none_to_sleep_that_may_be_deciding(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apx.policy.evaluate._live", OrderedDict())
    monkeypatch.setattr("apx.policy.evaluate._MOST_LIVE", 2)
    policy = build(GATE)
    serving = [Evaluator(policy.wasm, policy.data, pure=False) for _ in range(2)]
    prepared = Evaluator(policy.wasm, policy.data, pure=False)
    assert [bool(one.memory_bytes()) for one in (*serving, prepared)] == [True, True, False]
    assert prepared.decide(b"{}").reason == "no"
    for one in (*serving, prepared):
        one.close()


def test_a_closed_policy_decides_what_was_under_way_and_keeps_nothing(build: Build) -> None:
    policy = build(GATE)
    evaluator = Evaluator(policy.wasm, policy.data, pure=True)
    evaluator.close()
    assert evaluator.decide(b"{}").reason == "no"
    assert (evaluator.memory_bytes(), evaluator.memo_size()) == (0, 0)


def test_native_code_is_read_back_and_a_damaged_file_is_compiled_anew(build: Build, tmp_path: Path) -> None:
    policy = build(GATE + "# another module\n")
    folder = tmp_path / "native"
    for damage in (False, False, True):
        if damage:
            file = next(folder.glob("*.native"))
            file.write_bytes(file.read_bytes()[:-1] + b"!")
        engine.forget_modules()
        evaluator = Evaluator(policy.wasm, policy.data, pure=True, cache_dir=folder)
        assert evaluator.decide(b"{}").reason == "no"
        evaluator.close()


def test_data_that_is_not_json_is_refused(build: Build) -> None:
    with pytest.raises(ReleaseRejected, match="not JSON"):
        Evaluator(build(GATE).wasm, b"{", pure=True)
