"""The example policies decide in WASM as `opa eval` does, for generated requests of every shape."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apx.catalog.load import load_catalog
from apx.policy.compile import compile_policy
from apx.policy.evaluate import Evaluator
from apx.policy.opa import Opa

GITOPS = Path(__file__).parents[3] / "gitops"
CATALOG = load_catalog(GITOPS)
PRODUCTS = sorted(CATALOG.products)
EACH = 400

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2.5, 10**6, 2**53 + 1, 10**30, -(10**30), 1e-9),
    *("", " ", "a", "1", "ä€😀", "x" * 300, "../..", "198.51.100.7", "2001:db8::1", "not an address"),
    *([], [1], ["payroll"], {}, {"a": [1, {"b": None}]}),
]


@pytest.mark.parametrize("product", PRODUCTS)
def test_an_example_policy_decides_as_opa_does(product: str, opa: Opa, cache_dir: Path, tmp_path: Path) -> None:
    spec = CATALOG.products[product].spec
    inputs = list(requests(product))
    policy = compile_policy(opa, GITOPS / "policies", spec.policy.package, cache_dir=cache_dir)
    ours = decided(policy.wasm, policy.data, inputs)
    theirs = evaluated(opa, spec.policy.package, inputs, tmp_path)

    different = [(i, a, b) for i, a, b in zip(inputs, ours, theirs, strict=True) if a != b]
    assert not different[:3]
    assert len({reason for _, reason, _, _ in ours}) > 1  # they were not all refused alike


def requests(product: str) -> Iterator[dict[str, Any]]:
    """Generate inputs: well-formed ones, and ones with an odd value, an extra one or none in any place."""
    draw = random.Random(f"apx {product}")  # noqa: S311 -- inputs, not secrets
    spec = CATALOG.products[product].spec
    for _ in range(EACH):
        route = draw.choice(spec.routes)
        document: dict[str, Any] = {
            "org": draw.choice([*CATALOG.orgs, "stranger"]),
            "region": draw.choice(["us", "eu"]),
            "product": product,
            "plan": draw.choice([*spec.plans, "unknown"]),
            "key": {"id": "key_1"},
            "request": {
                "method": draw.choice([*route.methods, "GET", "POST"]),
                "route": route.path,
                "path": route.path,
                "params": {"employee_id": draw.choice(["e-1", "e-2"]), "city": "oslo"},
                "query": draw.choice([{}, {"days": ["3"]}, {"ticks": ["1", "2"]}]),
                "headers": {},
                "client_ip": draw.choice(["198.51.100.7", "2001:db8::1", ""]),
            },
            "claims": {"sub": draw.choice(["e-1", "e-2"]), "org": "acme", "roles": draw.choice([[], ["payroll"]])},
            "body": {
                "amount_usd": draw.choice([1, 99.99, 500, 5_000, 10**7]),
                "days": draw.choice([1, 31, 32, 400, 1.5]),
                "text": draw.choice(["one two three", "", "wort " * 400]),
            },
        }
        for _ in range(draw.choice([0, 0, 1, 2])):
            spoil(document, draw)
        yield document


def spoil(document: dict[str, Any], draw: random.Random) -> None:
    """Put something odd somewhere."""
    at = document
    while True:
        name = draw.choice(list(at))
        below = at[name]
        if isinstance(below, dict) and below and draw.random() < 0.7:
            at = below
            continue
        if draw.random() < 0.2:
            del at[name]
        else:
            at[name] = copy.deepcopy(draw.choice(ODD))
        return


Answer = tuple[bool, str, str, str]


def decided(wasm: bytes, data: bytes, inputs: list[dict[str, Any]]) -> list[Answer]:
    evaluator = Evaluator(wasm, data, pure=True)
    try:
        decisions = [evaluator.decide(json.dumps(document).encode()) for document in inputs]
    finally:
        evaluator.close()
    return [(d.allow, d.reason, d.detail, json.dumps([d.headers, d.cost], sort_keys=True)) for d in decisions]


def evaluated(opa: Opa, package: str, inputs: list[dict[str, Any]], folder: Path) -> list[Answer]:
    """Return what opa's interpreter decides, all in one run."""
    cases = folder / "cases.json"
    cases.write_text(json.dumps({"cases": inputs}))
    query = f"[[i, r] | some i, x in data.cases; r := data.{package}.decision with input as x]"
    completed = opa.run(["eval", "--format", "json", "-d", str(GITOPS / "policies"), "-d", str(cases), query])
    assert completed.status == 0, completed.stdout.decode() + completed.stderr
    answers = dict(json.loads(completed.stdout)["result"][0]["expressions"][0]["value"])
    return [answer(answers.get(at)) for at in range(len(inputs))]


def answer(decision: dict[str, Any] | None) -> Answer:
    if decision is None:
        return False, "policy-undefined", "", json.dumps([{}, 1.0])
    if not all(isinstance(value, str) for value in decision.get("headers", {}).values()):
        return False, "policy-malformed", "", json.dumps([{}, 1.0])
    rest = json.dumps([decision.get("headers", {}), float(decision.get("cost", 1.0))], sort_keys=True)
    return decision["allow"], decision["reason"], decision.get("detail", ""), rest
