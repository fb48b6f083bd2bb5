from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from apx.errors import Misconfigured, PolicyRejected
from apx.policy.capabilities import CAPABILITIES, REFUSED, allowed_builtins, generate
from apx.policy.compile import CompiledPolicy, compile_policy
from apx.policy.opa import Opa

ROOT = Path(__file__).parents[3]
TREE = {
    "orders/policy.rego": """package orders
import data.lib.plans
default decision := {"allow": false, "reason": "no"}
decision := {"allow": true, "reason": "ok", "cost": plans.cost(input.plan)} if not input.blocked
""",
    "orders/policy_test.rego": "package orders_test\ntest_x if not data.orders.decision.allow with input.blocked as 1",
    "orders/data.json": '{"unused": 1}',
    "lib/plans/plans.rego": "package lib.plans\ncost(name) := data.lib.plans.costs[name]\n",
    "lib/plans/data.yaml": "costs: {free: 1, pro: 0.5}\n",
    "billing/policy.rego": 'package billing\ndecision := {"allow": data.lib.plans.costs.free == 1, "reason": "ok"}\n',
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return _write(tmp_path / "policies", TREE)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def _rejection(opa: Opa, root: Path, body: str) -> str:
    _write(root, {"bad/policy.rego": body})
    with pytest.raises(PolicyRejected) as caught:
        compile_policy(opa, root, "bad")
    return str(caught.value)


def test_a_policy_is_built_with_its_imports_and_the_data_that_they_read(opa: Opa, tree: Path) -> None:
    policy = compile_policy(opa, tree, "orders")
    assert policy.wasm.startswith(b"\0asm")
    assert policy.data == b'{"lib":{"plans":{"costs":{"free":1,"pro":0.5}}},"orders":{"unused":1}}'
    assert (policy.pure, policy.builtins, policy.warnings) == (True, (), ())


def test_the_build_is_the_same_in_another_folder_with_another_time_zone(
    opa: Opa, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compile_policy(opa, tree, "orders")
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setenv("LC_ALL", "C")
    second = compile_policy(opa, shutil.copytree(tree, tmp_path / "elsewhere" / "deeper"), "orders")
    assert first == second


def test_files_of_other_policies_change_nothing(opa: Opa, tree: Path) -> None:
    before = compile_policy(opa, tree, "orders")
    _write(
        tree,
        {
            "billing/policy.rego": "package billing\nthis is not rego",
            "billing/data.json": '{"changed": true}',
            "ordersx/policy.rego": 'package ordersx\ndecision := {"allow": true, "reason": "data is here"}\n',
            "orders/policy_test.rego": "package orders_test\n",
        },
    )
    assert compile_policy(opa, tree, "orders") == before


@pytest.mark.parametrize("name", ["lib/plans/plans.rego", "lib/plans/data.yaml", "orders/policy.rego"])
def test_a_change_of_its_own_files_changes_it(opa: Opa, tree: Path, name: str) -> None:
    before = compile_policy(opa, tree, "orders")
    path = tree / name
    path.write_text(
        path.read_text()
        .replace("pro: 0.5", "pro: 0.6")
        .replace("costs[name]", "costs[name] + 1")
        .replace('"no"', '"nope"')
    )
    after = compile_policy(opa, tree, "orders")
    assert (after.wasm, after.data) != (before.wasm, before.data)


def test_the_cache_answers_without_opa(opa: Opa, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_policy(opa, tree, "orders", cache_dir=tmp_path / "cache")
    opa.version()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("opa was run")

    monkeypatch.setattr(Opa, "run", fail)
    assert compile_policy(opa, tree, "orders", cache_dir=tmp_path / "cache") == first


def test_a_folder_that_others_may_write_to_is_no_cache(opa: Opa, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(Misconfigured, match="chmod go-w"):
        compile_policy(opa, tree, "orders", cache_dir=tmp_path / "cache")


def test_reading_the_clock_makes_a_policy_impure(opa: Opa, tree: Path) -> None:
    _write(tree, {"orders/extra.rego": "package orders\nlate if time.now_ns() > 5\n"})
    assert compile_policy(opa, tree, "orders").pure is True
    _write(
        tree, {"orders/extra.rego": 'package orders\ndecision := {"allow": true, "reason": "x"} if time.now_ns() > 5\n'}
    )
    policy = compile_policy(opa, tree, "orders")
    assert (policy.pure, policy.builtins) == (False, ("time.now_ns",))


def test_a_decision_that_may_be_undefined_is_warned_of(opa: Opa, tree: Path) -> None:
    assert "default decision" in compile_policy(opa, tree, "billing").warnings[0]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("package bad\ndecision := {\n", "bad/policy.rego:"),
        ("package bad\ndecision { 1 }\n", "bad/policy.rego:2:1: `if` keyword is required before rule body"),
        ("package bad\ndecision := x if not x\n", "bad/policy.rego:2:18: var x is unsafe"),
        (
            "package bad\ndecision := a\na := b\nb := a\n",
            "rule data.bad.a is recursive: data.bad.a -> data.bad.b -> data.bad.a",
        ),
        ('package bad\ndecision := http.send({"url": "http://x"})\n', "policy.rego:2:13: undefined function http.send"),
        ("package bad\ndecision := opa.runtime()\n", "undefined function opa.runtime"),
        ('package bad\ndecision := net.lookup_ip_addr("x")\n', "a decision makes no calls"),
        ('package bad\ndecision := rand.intn("x", 5)\n', "a decision is a function of its input"),
        ("package bad\ndecision := nothing(1)\n", "undefined function nothing"),
        ("package bad\nallow := true\n", "does not refer to a rule"),
    ],
)
def test_what_cannot_be_built_is_rejected_with_its_place(opa: Opa, tree: Path, body: str, expected: str) -> None:
    assert expected in _rejection(opa, tree, body)


def test_all_mistakes_are_listed(opa: Opa, tree: Path) -> None:
    body = "package bad\ndecision := first(1)\nx := second(2)\ny := uuid.rfc4122(3)\n"
    lines = _rejection(opa, tree, body).splitlines()
    assert [line.split(": ")[1].split()[-1] for line in lines] == ["first", "second", "uuid.rfc4122"] or len(lines) == 3


def test_an_unknown_package_names_those_that_there_are(opa: Opa, tree: Path) -> None:
    with pytest.raises(PolicyRejected, match=r"there are: billing, lib\.plans, orders"):
        compile_policy(opa, tree, "order")


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights there")
def test_a_link_out_of_the_tree_is_rejected(opa: Opa, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.rego").write_text("package orders\n")
    (tree / "orders" / "link.rego").symlink_to(tmp_path / "secret.rego")
    with pytest.raises(PolicyRejected, match="not a regular file inside"):
        compile_policy(opa, tree, "orders")


def test_the_capabilities_are_those_of_this_opa(opa: Opa) -> None:
    current = generate(opa)
    assert CAPABILITIES.read_bytes() == current, "run: python -m apx.policy.capabilities"


def test_what_is_refused_is_not_among_the_capabilities() -> None:
    assert REFUSED.keys() & allowed_builtins() == set()


def test_every_builtin_has_its_line_in_the_documentation() -> None:
    text = (ROOT / "docs" / "policy-builtins.md").read_text()
    missing = [name for name in sorted(allowed_builtins() | REFUSED.keys()) if f"`{name}`" not in text]
    assert missing == []


def test_a_missing_opa_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APX_OPA", str(tmp_path / "nothing"))
    with pytest.raises(Misconfigured, match="APX_OPA"):
        Opa.find()
    monkeypatch.delenv("APX_OPA")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("apx.policy.opa._LOCAL", tmp_path / "opa")
    with pytest.raises(Misconfigured, match="go install"):
        Opa.find()


GITOPS = ROOT / "gitops" / "policies"


@pytest.mark.parametrize(
    "package", sorted({p.parent.relative_to(GITOPS).as_posix() for p in GITOPS.glob("products/*/*.rego")})
)
def test_the_example_policies_build_without_warnings(opa: Opa, cache_dir: Path, package: str) -> None:
    policy: CompiledPolicy = compile_policy(opa, GITOPS, package.replace("/", "."), cache_dir=cache_dir)
    assert policy.warnings == ()
