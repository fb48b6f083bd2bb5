"""The words that both forms of the report are written in."""

from __future__ import annotations

from collections.abc import Mapping

from apx.cli.impact import Impact, ProductImpact
from apx.policy.replay import Kind, Outcome, Replayed
from apx.release.diff import Danger

KINDS: dict[Kind, str] = {
    "newly-denied": "allow → deny",
    "route-lost": "no route any more",
    "newly-refused": "allow → refused (plan, token, size or rate)",
    "newly-allowed": "deny → allow",
    "reason": "other reason",
    "obligations": "other headers or cost",
}
DANGERS: dict[Danger, str] = {
    Danger.BREAKS: "breaks",
    Danger.RISKS: "risks",
    Danger.CHANGES: "changes",
    Danger.ADDS: "adds",
}
UNKNOWN = "no recorded inputs: what this does to decisions is not known"


def count(number: int, thing: str) -> str:
    """Write how many there are of a thing."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def summary(impact: Impact) -> str:
    """Say in one line what the change does."""
    if not impact.products:
        return f"No product differs between {impact.before} and {impact.after}."
    compared = sum(one.replayed.compared for one in impact.products if one.replayed)
    unknown = [
        one.product for one in impact.products if one.status != "new" and not (one.replayed and one.replayed.compared)
    ]
    said = f"{count(impact.flips, 'request')} of {compared:,} recorded would be answered otherwise" if compared else ""
    missing = f"nothing is known of decisions of {', '.join(unknown)}" if unknown else ""
    return "; ".join(filter(None, (_how_many(impact), said, missing))) + "."


def passed_over(impact: Impact) -> str:
    """Say how much of the sample could not be read; empty where all could."""
    were = "was" if impact.passed_over == 1 else "were"
    lines = count(impact.passed_over, "line")
    return f"{lines} of the recorded inputs could not be read and {were} passed over" if impact.passed_over else ""


def _how_many(impact: Impact) -> str:
    by_status: dict[str, int] = {}
    for one in impact.products:
        by_status[one.status] = by_status.get(one.status, 0) + 1
    return ", ".join(f"{count(number, 'product')} {status}" for status, number in by_status.items())


def status(one: ProductImpact) -> str:
    """Say what becomes of a product as a whole."""
    return {
        "new": "is new: nobody calls it yet",
        "gone": "is gone: every request to it is answered 404",
        "changed": "changes",
        "replayed": "as recorded, and now",
    }[one.status]


def changes(kinds: Mapping[Kind, int]) -> str:
    """Write how many there are of each kind."""
    return ", ".join(f"{number:,} {KINDS[kind]}" for kind, number in kinds.items()) or "none"


def notes(one: ProductImpact) -> list[str]:
    """Say what the figures leave out."""
    found = [f"recorded inputs do not have {what}, which the policy is now shown" for what in one.lacks]
    if one.replayed is not None:
        found += _not_counted(one, one.replayed)
    return found


def _not_counted(one: ProductImpact, replayed: Replayed) -> list[str]:
    found = []
    if one.status == "replayed":
        found.append("what was recorded is masked: an input may be decided otherwise for that alone")
    if replayed.not_reproduced:
        found.append(
            f"{count(replayed.not_reproduced, 'input')} not counted: masked where it mattered, or the policy failed "
            f"({replayed.not_reproduced_but_differ:,} of them differ between the two sides)"
        )
    if replayed.not_tried:
        found.append(f"{count(replayed.not_tried, 'input')} not tried: the policy ran out of time too often")
    if replayed.policy_failures:
        found.append(f"{count(replayed.policy_failures, 'input')} on which the policy fails, and did not before")
    if replayed.other_releases:
        found.append(
            f"{count(replayed.other_releases, 'input')} recorded under another release than the one before the change"
        )
    return found


def outcome(value: Outcome) -> str:
    """Write what becomes of a request."""
    return f"{'allow' if value.allow else 'deny' if value.stage == 'policy' else 'refuse'} {value.reason}"


def obligations(before: Outcome, after: Outcome) -> str:
    """Write how headers and cost differ."""
    was, now = before.decision, after.decision
    if was is None or now is None:
        return ""
    names = sorted(
        name for name in was.headers.keys() | now.headers.keys() if was.headers.get(name) != now.headers.get(name)
    )
    said = [f"{name}: {was.headers.get(name, '(none)')} → {now.headers.get(name, '(none)')}" for name in names]
    if was.cost != now.cost:
        said.append(f"cost {was.cost:g} → {now.cost:g}")
    return ", ".join(said)
