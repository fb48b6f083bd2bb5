"""What a product's rollout must keep beyond fields, types and bounds."""

from __future__ import annotations

from itertools import pairwise

from apx.catalog.findings import Findings
from apx.catalog.limit_checks import check_timezone
from apx.catalog.model import ProductSpec


def check_rollout(findings: Findings, spec: ProductSpec) -> None:
    """Note the mistakes of `spec.rollout`."""
    rollout = spec.rollout
    for at, (before, step) in enumerate(pairwise(rollout.steps), 1):
        if step.weight_percent <= before.weight_percent:
            message = (
                f"{step.weight_percent:g} does not grow from the step before ({before.weight_percent:g}): "
                "no org goes back but by an abort"
            )
            findings.add(("spec", "rollout", "steps", at, "weight_percent"), "step-not-growing", message)
    longest = max(step.hold_s for step in rollout.steps)
    if rollout.max_hold_s < longest:
        message = f"{rollout.max_hold_s:g} is under the longest hold {longest:g}, which would pause there: raise it"
        findings.add(("spec", "rollout", "max_hold_s"), "max-hold-under-hold", message)
    for at, window in enumerate(rollout.freeze):
        check_timezone(findings, ("spec", "rollout", "freeze", at, "timezone"), window.timezone)
