from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apx.admission.impact import Judge, gone, judge, lacking
from apx.catalog.model import Auth, Backend, Jwt, PlanSpec, PolicyRef, ProductSpec, Rate, Route
from apx.policy.compile import CompiledPolicy, compile_policy
from apx.policy.decision import Decision
from apx.policy.opa import Opa
from apx.policy.replay import replay
from apx.policy.sample import Sample, sample_of
from apx.release.digest import blob_of
from apx.release.model import Compiler, Manifest, PolicyArtifact, Release
from apx.release.model import TestReport as Report

POLICY = """package products.orders

decision := {"allow": on_time, "reason": "ok", "cost": cost, "headers": {"x-saw": json.marshal(input)}}

cost := object.get(input, ["body", "cost"], 1)

default on_time := false

on_time if time.now_ns() < 1700000001000000000
"""
FREE = PlanSpec(title="Free", rate=Rate(per_second=1, burst=10), max_body_bytes=100)
JWT = Auth(jwt=Jwt(issuer="https://issuer.example", audiences=("orders",), jwks="{}"))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> CompiledPolicy:
    root = tmp_path_factory.mktemp("policies")
    (root / "orders.rego").write_text(POLICY)
    return compile_policy(Opa.find(), root, "products.orders")


@pytest.fixture
def side(policy: CompiledPolicy, tmp_path: Path) -> Iterator[Any]:
    """Make a side of a product that differs from the usual one in some fields."""
    stack = []

    def make(plans: dict[str, PlanSpec] | None = None, **changes: Any) -> Judge:
        context = judge(release(policy, plans=plans, **changes), cache_dir=tmp_path / "cache", base_path="/orders")
        stack.append(context)
        return context.__enter__()

    yield make
    for context in stack:
        context.__exit__(None, None, None)


def spec(**changes: Any) -> ProductSpec:
    fields: dict[str, Any] = {
        "title": "Orders",
        "owner": "team",
        "base_path": "/orders",
        "backend": Backend(url="http://backend.example"),
        "routes": (Route(path="/", methods=("GET", "POST")), Route(path="/{id}", methods=("GET",))),
        "policy": PolicyRef(package="products.orders", body=True, headers=("x-a",)),
        "plans": ("free",),
    }
    return ProductSpec(**{**fields, **changes})


def manifest(compiled: CompiledPolicy, /, *, plans: dict[str, PlanSpec] | None = None, **changes: Any) -> Manifest:
    return Manifest(
        product="orders",
        spec=spec(**changes),
        plans={"free": FREE} if plans is None else plans,
        policy=PolicyArtifact(
            package="products.orders", wasm=blob_of(compiled.wasm), data=blob_of(compiled.data), pure=compiled.pure
        ),
        compiler=Compiler(opa="1.0.0", capabilities="0" * 64),
        tests=Report(passed=1, coverage_percent=100.0),
    )


def release(compiled: CompiledPolicy, /, **changes: Any) -> Release:
    return Release(digest="sha256:1", manifest=manifest(compiled, **changes), wasm=compiled.wasm, data=compiled.data)


def sample(path: str = "/", *, method: str = "GET", at_ms: int = 1_700_000_000_000, **changes: Any) -> Sample:
    route = "/" if path == "/" else "/{id}"
    request = {
        "method": method,
        "route": route,
        "path": path,
        "params": {"id": path[1:]} if route == "/{id}" else {},
        "query": {},
        "headers": {"x-a": "1"},
        "client_ip": "",
    }
    document = {"org": "acme", "plan": "free", "product": "orders", "request": request, **changes}
    made = sample_of(at_ms, "orders", "sha256:1", json.dumps(document).encode(), Decision(allow=True, reason="ok"))
    assert made is not None
    return made


def shown(side: Judge, one: Sample) -> Any:
    """Return the input as the policy was shown it."""
    decision = side(one).decision
    assert decision is not None
    return json.loads(decision.headers["x-saw"])


def test_a_product_judges_as_it_did(side: Any) -> None:
    outcome = side()(sample("/7"))
    assert (outcome.allow, outcome.stage, outcome.reason) == (True, "policy", "ok")


def test_time_stands_where_it_stood(side: Any) -> None:
    assert side()(sample(at_ms=1_700_000_000_000)).allow
    assert not side()(sample(at_ms=1_700_000_002_000)).allow


@pytest.mark.parametrize(
    ("changes", "one", "code"),
    [
        ({"routes": (Route(path="/", methods=("GET",)),)}, sample("/7"), "not-found"),
        ({"routes": (Route(path="/{id}", methods=("POST",)),)}, sample("/7"), "method-not-allowed"),
        ({"base_path": "/v2/orders"}, sample("/7"), "not-found"),
        ({"plans": {}}, sample("/7"), "plan-not-offered"),
        ({"auth": JWT}, sample("/7"), "unauthenticated"),
        ({}, sample(method="POST", body="x" * 110), "body-too-large"),
        ({}, sample(method="POST", body={"cost": 11}), "quota-exceeded"),
    ],
)
def test_a_request_that_is_not_served_any_more_says_why(
    side: Any, changes: dict[str, Any], one: Sample, code: str
) -> None:
    outcome = side(**changes)(one)
    assert (outcome.allow, outcome.reason) == (False, code)


def test_a_renamed_template_is_shown_by_its_new_name(side: Any) -> None:
    renamed = side(routes=(Route(path="/{order_id}", methods=("GET",)),))
    request = shown(renamed, sample("/a%20b"))["request"]
    assert (request["route"], request["params"]) == ("/{order_id}", {"order_id": "a b"})


def test_what_a_policy_no_longer_asks_for_it_is_not_shown(side: Any) -> None:
    less = side(policy=PolicyRef(package="products.orders"))
    document = shown(less, sample(method="POST", body={"a": 1.50}, claims={"sub": "1"}))
    assert document.keys() == {"org", "plan", "product", "request"}
    assert document["request"]["headers"] == {}


def test_what_a_policy_newly_asks_for_is_said_to_be_lacking(policy: CompiledPolicy) -> None:
    before = manifest(policy, policy=PolicyRef(package="products.orders"))
    after = manifest(policy, auth=JWT)
    assert lacking(before, after) == ["the header x-a", "the body", "the claims of a token"]
    assert lacking(after, before) == []


def test_a_product_that_is_gone_serves_nothing() -> None:
    assert (gone(sample()).stage, gone(sample()).allow) == ("route", False)


def test_a_release_against_itself_changes_nothing(side: Any) -> None:
    samples = [sample("/7"), sample(), sample(method="POST", body={"cost": 3}), sample(at_ms=1_700_000_002_000)]
    found = replay(samples, side(), side(), before_release="sha256:1")
    assert (found.changes, found.not_reproduced) == ({}, 1)
    assert found.unchanged == 3


def test_input_that_the_policy_cannot_read_is_an_outcome(side: Any) -> None:
    odd = msgspec.structs.replace(
        sample(), input=msgspec.Raw(bytes(sample().input).replace(b'"GET"', b'"GET","x":1e999'))
    )
    assert side()(odd).stage == "policy"
