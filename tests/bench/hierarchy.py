"""The accept path under every level of limits that there is, against a key's rate alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from apx.local.platform import Platform
from tests.bench.accept import check_answer, orders
from tests.bench.bench import Bench
from tests.bench.row import Goal, Row, interleaved, row
from tests.bench.side import Side
from tests.bench.trees import bench_tree

NAMES = ("accept-all-limits", "accept-all-limits-router-cpu", "accept-all-limits-store-cpu")
PLAN = """\
  org_rate: {per_second: 1000000, burst: 10000000}
  quotas:
    - {name: hourly, per: hour, requests: 1000000000000}
    - {name: daily, per: day, requests: 1000000000000}
    - {name: org-monthly, per: month, requests: 1000000000000, of: org}
"""
ROUTE = "\n      rate: {per_second: 1000000, burst: 10000000}"
ORG = """\
  timezone: Europe/Berlin
  rate: {per_second: 1000000, burst: 10000000}
  quotas:
    - {name: monthly, per: month, requests: 1000000000000}
  budgets:
    - {name: daily, usd: 1000000, per: day}
    - {name: monthly, usd: 10000000, per: month}
"""
COST = "  cost: {usd: 0.000001}\n"
LEVELS = 10


def rows(bench: Bench) -> Iterator[Row]:
    """Measure requests a second, in turn."""
    full, plain = (_side(bench, name) for name in ("all-limits", "one-limit"))
    for side in (full, plain):
        side.warm_up()
    found = interleaved({"full": full.rate, "plain": plain.rate}, bench.rounds)
    yield row(
        "accept-all-limits",
        found["full"],
        found["plain"],
        unit="req/s",
        peer="a key's rate alone",
        goal=Goal(ratio_from=0.9),
        note=f"{LEVELS} levels, all far away: rates of key, org, route and all products, quotas of hour, day and "
        "month, two budgets of money. Peer: the same platform with the first of them.",
    )
    for process in ("router", "store"):
        yield row(
            f"accept-all-limits-{process}-cpu",
            full.cpu_us(process),
            plain.cpu_us(process),
            unit="µs",
            peer="a key's rate alone",
            less_is_better=True,
            note="processor time a request, which other work on the machine changes less than requests a second.",
        )


def _side(bench: Bench, name: str) -> Side:
    tree = bench_tree(bench.folder / f"{name}-gitops")
    if name == "all-limits":
        _limit(tree)
    platform: Platform = bench.platform(name, tree, without=("worker", "demo"))
    sent = orders(platform.keys["acme"], 1)
    check_answer(platform.settings.edge_port, sent[0], "202")
    pids = {"router": platform.pid("router"), "store": platform.pid("valkey")}
    return Side(bench, platform.settings.edge_port, sent, pids)


def _limit(tree: Path) -> None:
    """Add every level to the tree, where its field's neighbour stands."""
    _add(tree / "plans" / "enterprise.yaml", "  max_timeout_s:", PLAN, before=True)
    _add(tree / "orgs" / "acme.yaml", "  entitlements:", ORG, before=True)
    product = tree / "products" / "orders" / "product.yaml"
    _add(product, "  policy:", COST, before=True)
    _add(product, "- path: /", ROUTE, before=False)


def _add(path: Path, neighbour: str, more: str, *, before: bool) -> None:
    text = path.read_text(encoding="utf-8")
    at = text.index(neighbour) if before else text.index("\n", text.index(neighbour))
    path.write_text(text[:at] + more + text[at:], encoding="utf-8")
