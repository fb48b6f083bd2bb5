"""What the tests of this room share: opa, compiled policies, and both sides of a comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apx.policy.compile import CompiledPolicy, compile_policy
from apx.policy.instance import Instance
from apx.policy.module import MAX_MEMORY_BYTES, load, start
from apx.policy.opa import Opa
from apx.policy.stopped import Stopped

REGO = Path(__file__).parent / "rego"
NOW_NS = 1_700_000_000_123_456_789

Compile = Callable[[str], CompiledPolicy]
Compare = Callable[[str, list[Any]], list[tuple[Any, Any]]]


@pytest.fixture(scope="session")
def opa() -> Opa:
    return Opa.find()


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policy-cache")


@pytest.fixture(scope="session")
def compiled(opa: Opa, cache_dir: Path) -> Compile:
    """Compile a package of the folder `rego`, once."""
    return lambda package: compile_policy(opa, REGO, package, cache_dir=cache_dir)


@pytest.fixture
def run(compiled: Compile, cache_dir: Path) -> Iterator[Callable[[str, list[Any]], list[Any]]]:
    """Evaluate a package's `decision` in WASM for each input; what stops is its reason."""
    instances: list[Instance] = []

    def evaluate(package: str, inputs: list[Any]) -> list[Any]:
        policy = compiled(package)
        module = load(policy.wasm, cache_dir)
        answers: list[Any] = []
        instance: Instance | None = None
        for document in inputs:
            if instance is None:
                instance = start(module, policy.data, max_memory_bytes=MAX_MEMORY_BYTES, time_limit_s=1.0)
                instances.append(instance)
            try:
                raw = instance.evaluate(json.dumps(document).encode(), NOW_NS)
            except Stopped as stopped:
                answers.append(str(stopped))
                instance = None
                continue
            try:
                found = json.loads(raw, parse_float=Decimal)
            except UnicodeDecodeError as error:
                answers.append(f"policy-malformed: {error}")
                continue
            answers.append(found[0]["result"] if found else None)
        return answers

    yield evaluate
    for instance in instances:
        instance.close()


@pytest.fixture
def compare(run: Callable[[str, list[Any]], list[Any]], opa: Opa, tmp_path: Path) -> Compare:
    """Give opa's own answer and the module's for each input, from one run of `opa eval`."""

    def both(package: str, inputs: list[Any]) -> list[tuple[Any, Any]]:
        (tmp_path / "cases.json").write_text(json.dumps({"cases": inputs}))
        query = (
            f"[[i, r] | some i, x in data.cases; r := data.{package}.decision "
            f"with input as x with time.now_ns as {NOW_NS}]"
        )
        completed = opa.run(
            ["eval", "--format", "json", "-d", str(tmp_path / "cases.json"), "-d", str(REGO), query], cwd=REGO
        )
        assert completed.status == 0, completed.stdout.decode() + completed.stderr
        rows = json.loads(completed.stdout, parse_float=Decimal)["result"][0]["expressions"][0]["value"]
        theirs = dict(rows)
        ours = run(package, inputs)
        return [(theirs.get(at), ours[at]) for at in range(len(inputs))]

    return both
