"""Gitops trees for the benchmarks: copies of the example, with limits that are checked but never refuse."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from apx.local.platform import REPOSITORY

KEPT = ("orders", "forecast")
ORDER = b'{"item":"lamp","quantity":2,"amount_usd":40}'
_MOST = {
    "per_second": "1000000",
    "burst": "10000000",
    "requests": "1000000000000",
    "backlog": "1000000",
    "concurrency": "100000",
    "concurrency_per_org": "100000",
}


def bench_tree(to: Path, *, orders_backend: str = "") -> Path:
    """Copy the example with `orders` and `forecast` alone; `orders_backend` is where the former's requests go."""
    shutil.copytree(REPOSITORY / "gitops", to)
    for kind, spell in (("products", str), ("policies/products", _package)):
        for folder in (to / kind).iterdir():
            if folder.name not in map(spell, KEPT):
                shutil.rmtree(folder)
    for path in (*to.glob("plans/*.yaml"), to / "products" / "orders" / "product.yaml"):
        for field, most in _MOST.items():
            _replace(path, rf"({field}:) .*", rf"\1 {most}")
    for path in to.glob("orgs/*.yaml"):
        _replace(path, rf"\n    (?!{'|'.join(KEPT)})[a-z-]+: [a-z]+(?=\n)", "")
        _replace(path, r"\n  (rate|quotas|budgets):(\n    .*)*", "")
    if orders_backend:
        _replace(to / "products" / "orders" / "product.yaml", r"url: .*", f"url: {orders_backend}")
    return to


def many_products(to: Path, *, products: int, packages: int) -> Path:
    """Make a tree of many products like `orders`, which share several policies, each with its tests."""
    bench_tree(to)
    for number in range(packages):
        for source in sorted((to / "policies" / "products" / "orders").glob("*.rego")):
            text = source.read_text(encoding="utf-8").replace("products.orders", f"products.kind{number}")
            text = re.sub(r"\borders\.decision", f"kind{number}.decision", text)
            text = text.replace("Orders are bounded", f"Orders of kind {number} are bounded")
            text = text.replace('"order-malformed"', f'"order-malformed-{number}"')
            target = to / "policies" / "products" / f"kind{number}" / source.name
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
    for number in range(products):
        folder = to / "products" / f"orders-{number}"
        folder.mkdir()
        text = (to / "products" / "orders" / "product.yaml").read_text(encoding="utf-8")
        text = text.replace("name: orders", f"name: orders-{number}")
        text = text.replace("base_path: /orders", f"base_path: /orders-{number}")
        text = text.replace("package: products.orders", f"package: products.kind{number % packages}")
        (folder / "product.yaml").write_text(text, encoding="utf-8")
    for path in to.glob("orgs/*.yaml"):
        entitled = "".join(f"\n    orders-{number}: enterprise" for number in range(products))
        _replace(path, r"entitlements:", f"entitlements:{entitled}")
    for name in KEPT:
        shutil.rmtree(to / "products" / name)
        shutil.rmtree(to / "policies" / "products" / _package(name))
    for path in to.glob("orgs/*.yaml"):
        _replace(path, rf"\n    (?:{'|'.join(KEPT)}): [a-z]+(?=\n)", "")
    return to


def _package(product: str) -> str:
    return product.replace("-", "_")


def _replace(path: Path, pattern: str, by: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(pattern, by, text), encoding="utf-8")
