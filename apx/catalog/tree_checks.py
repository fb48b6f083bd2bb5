"""What the resources of a tree must keep among each other."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from apx.catalog.findings import Findings
from apx.catalog.mistakes import Path, did_you_mean
from apx.catalog.model import INTERNAL, OrgSpec, PlanSpec, ProductSpec, is_internal

Known = Mapping[str, object]


def check_name(findings: Findings, name: str, expected: str, place: str) -> None:
    """Hold the name in a file against the name of the file or folder."""
    if name != expected:
        message = f"'{name}' is not the {place}'s name '{expected}': make them the same"
        findings.add(("metadata", "name"), "name-mismatch", message)


def check_product_name(findings: Findings, name: str) -> None:
    """Keep the names of APX's own products free."""
    if is_internal(name):
        message = (
            f"names that begin with '{INTERNAL}' are APX's own: choose another name for the product and its folder"
        )
        findings.add(("metadata", "name"), "name-reserved", message)


def check_plans(findings: Findings, spec: ProductSpec, known: Known, plans: Mapping[str, PlanSpec]) -> None:
    """Hold a product against the plans that it offers: they exist, and it stays within each."""
    for at, name in enumerate(spec.plans):
        if findings.full:
            return
        if name not in known:
            findings.add(("spec", "plans", at), "plan-unknown", f"there is no plan '{name}'{did_you_mean(name, known)}")
        elif name in plans:
            _check_plan(findings, spec, name, plans[name])


def _check_plan(findings: Findings, spec: ProductSpec, name: str, plan: PlanSpec) -> None:
    way_out = "lower it or remove the plan"
    timeouts: list[tuple[Path, float]] = [(("spec", "backend", "timeout_s"), spec.backend.timeout_s)]
    for at, route in enumerate(spec.routes):
        if route.timeout_s is not None:
            timeouts.append((("spec", "routes", at, "timeout_s"), route.timeout_s))
        if route.max_body_bytes > plan.max_body_bytes:
            message = f"{route.max_body_bytes} is over plan '{name}'s max_body_bytes {plan.max_body_bytes}: {way_out}"
            findings.add(("spec", "routes", at, "max_body_bytes"), "body-over-plan", message)
    for path, timeout_s in timeouts:
        if timeout_s > plan.max_timeout_s:
            message = f"{timeout_s:g} is over plan '{name}'s max_timeout_s {plan.max_timeout_s:g}: {way_out}"
            findings.add(path, "timeout-over-plan", message)


def check_entitlements(findings: Findings, spec: OrgSpec, known: Known, products: Mapping[str, ProductSpec]) -> None:
    """Hold an org's entitlements against the products: they exist, and offer the plan."""
    for product, plan in spec.entitlements.items():
        if findings.full:
            return
        path: Path = ("spec", "entitlements", product)
        if product not in known:
            message = f"there is no product '{product}'{did_you_mean(product, known)}"
            findings.add(path, "product-unknown", message, at_key=True)
        elif product in products and plan not in products[product].plans:
            message = f"product '{product}' does not offer plan '{plan}'{did_you_mean(plan, products[product].plans)}"
            findings.add(path, "plan-not-offered", message)


def check_base_paths(products: Collection[tuple[str, ProductSpec, Findings]]) -> None:
    """Note each product that is served at or under another's base path."""
    owners: dict[str, str] = {}
    for name, spec, findings in products:
        if spec.base_path in owners:
            _overlap(findings, spec, owners[spec.base_path], spec.base_path)
        owners.setdefault(spec.base_path, name)
    for _, spec, findings in products:
        segments = spec.base_path.split("/")
        above = ("/".join(segments[:count]) for count in range(2, len(segments)))
        for base_path in above:
            if base_path in owners:
                _overlap(findings, spec, owners[base_path], base_path)


def _overlap(findings: Findings, spec: ProductSpec, other: str, base_path: str) -> None:
    message = f"'{spec.base_path}' overlaps product '{other}' at '{base_path}': choose another base path"
    findings.add(("spec", "base_path"), "base-path-overlap", message)
