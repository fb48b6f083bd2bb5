"""What a product's rollout must keep beyond fields, types and bounds."""

from __future__ import annotations

from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from apx.catalog.findings import Findings
from apx.catalog.mistakes import did_you_mean
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
        if not _is_zone(window.timezone):
            message = f"'{window.timezone}' is no time zone{did_you_mean(window.timezone, available_timezones())}"
            findings.add(("spec", "rollout", "freeze", at, "timezone"), "timezone-unknown", message)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a name can lead to a folder of the system's zones
        return False
    return True
