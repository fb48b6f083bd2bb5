from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apx.catalog.model import Async, Backend, Judge, PlanSpec, PolicyRef, Quota, Rate, RolloutSpec, Route
from apx.policy.rules import RuleChange
from apx.release.diff import MOST_DATA_LINES, differences
from apx.release.digest import blob_of
from apx.release.model import Release

from .examples import JWT, manifest, spec

FREE = PlanSpec(title="Free", rate=Rate(per_second=10, burst=20))
DAILY = Quota(name="daily", per="day", requests=100)
replace = msgspec.structs.replace


def release(*, plans: dict[str, PlanSpec] | None = None, data: bytes = b"{}", wasm: bytes = b"w", **of: Any) -> Release:
    made = manifest("orders", spec(**of), plans or {"free": FREE}, wasm)
    made = msgspec.structs.replace(made, policy=msgspec.structs.replace(made.policy, data=blob_of(data)))
    return Release(digest="sha256:1", manifest=made, wasm=wasm, data=data)


def said(before: Release, after: Release, rules: list[RuleChange] | None = None) -> list[str]:
    return [f"{line.danger.name.lower()}: {line.text}" for line in differences(before, after, rules or [])]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"routes": (Route(path="/", methods=("GET", "POST")),)}, "breaks: route /{id} removed (GET, HEAD)"),
        (
            {"routes": (Route(path="/", methods=("GET", "POST")),)},
            {"routes": (Route(path="/", methods=("GET",)),)},
            "breaks: route /: methods GET, POST -> GET",
        ),
        (
            {"routes": (Route(path="/", methods=("GET",)),)},
            {"routes": (Route(path="/", methods=("GET",)), Route(path="/new", methods=("PUT",)))},
            "adds: route /new added (PUT)",
        ),
        (
            {"routes": (Route(path="/"),)},
            {"routes": (Route(path="/", max_body_bytes=1024),)},
            "risks: route /: max_body_bytes 1048576 -> 1024",
        ),
        (
            {"routes": (Route(path="/", timeout_s=5),)},
            {"routes": (Route(path="/", timeout_s=10),)},
            "changes: route /: timeout_s 5 -> 10",
        ),
        (
            {},
            {"plans": {"free": PlanSpec(title="Free", rate=Rate(per_second=5, burst=20))}},
            "risks: plan free: rate 10/s burst 20 -> 5/s burst 20",
        ),
        (
            {"plans": {"free": replace(FREE, quotas=(DAILY,))}},
            {"plans": {"free": replace(FREE, quotas=(replace(DAILY, requests=50),))}},
            "risks: plan free: quota daily 100 each day of each key -> 50 each day of each key",
        ),
        (
            {"plans": {"free": replace(FREE, quotas=(DAILY,))}},
            {"plans": {"free": replace(FREE, quotas=(replace(DAILY, requests=500),))}},
            "changes: plan free: quota daily 100 each day of each key -> 500 each day of each key",
        ),
        (
            {},
            {"plans": {"free": replace(FREE, org_rate=Rate(per_second=20, burst=20))}},
            "risks: plan free: org_rate none -> 20/s burst 20",
        ),
        (
            {"plans": {"free": FREE, "pro": FREE}},
            {},
            "breaks: plan pro is no longer offered",
        ),
        ({}, {"plans": {"free": FREE, "pro": FREE}}, "adds: plan pro is offered (10/s burst 20)"),
        ({}, {"base_path": "/v2/orders"}, "breaks: base_path /orders -> /v2/orders"),
        ({}, {"mode": "sync"}, "breaks: mode async -> sync"),
        (
            {},
            {"backend": Backend(url="http://other.example")},
            "risks: backend url http://backend.example -> http://other.example",
        ),
        ({}, {"async_": Async(backlog=5)}, "risks: async backlog 10000 -> 5"),
        ({}, {"async_": Async(deadline_s=7200)}, "changes: async deadline_s 3600 -> 7200"),
        (
            {},
            {"rollout": RolloutSpec(judge=Judge(new_denials_percent=5))},
            "risks: rollout judge new_denials_percent 1 -> 5",
        ),
        (
            {},
            {"rollout": RolloutSpec(judge=Judge(new_denials_percent=0.5))},
            "changes: rollout judge new_denials_percent 1 -> 0.5",
        ),
        ({}, {"policy": PolicyRef(package="products.orders", body=True)}, "risks: policy body false -> true"),
        ({}, {"title": "All orders"}, "adds: title Orders -> All orders"),
        (
            {"data": b'{"lib":{"plans":{"free":{"usd":100}}}}'},
            {"data": b'{"lib":{"plans":{"free":{"usd":50}}}}'},
            "risks: data lib.plans.free.usd 100 -> 50",
        ),
    ],
)
def test_one_difference_is_one_line(before: dict[str, Any], after: dict[str, Any], line: str) -> None:
    assert said(release(**before), release(**after)) == [line]


def test_the_same_is_no_difference() -> None:
    assert said(release(), release()) == []


def test_the_most_dangerous_stands_first() -> None:
    after = release(title="Other", base_path="/v2", async_=Async(backlog=5))
    assert [line.split(":")[0] for line in said(release(), after)] == ["breaks", "risks", "adds"]


def test_rules_are_named_with_their_file() -> None:
    rules = [RuleChange("products/orders/policy.rego", "rule decision", "changed")]
    assert said(release(), release(wasm=b"v"), rules) == [
        "risks: policy products/orders/policy.rego: rule decision changed"
    ]


def test_a_policy_of_which_only_the_layout_changed_says_so() -> None:
    assert said(release(), release(wasm=b"v")) == [
        "adds: the policy's sources changed in their layout or comments alone"
    ]


def test_a_release_without_sources_says_that_its_policy_changed() -> None:
    (line,) = differences(release(), release(wasm=b"v"), None)
    assert line.text == "the compiled policy changed; a release holds no sources that say where"


def test_what_may_hold_a_secret_is_not_shown() -> None:
    after = release(auth=JWT, backend=Backend(url="http://backend.example", headers={"x-key": "canary"}))
    assert "canary" not in "\n".join(said(release(), after))
    assert "changes: backend headers x-key added" in said(release(), after)


def test_a_table_of_data_is_cut() -> None:
    table = msgspec.json.encode({"lib": {str(at): at for at in range(100)}})
    lines = said(release(), release(data=table))
    assert len(lines) == MOST_DATA_LINES + 1
    assert "risks: data: 80 more values changed" in lines
