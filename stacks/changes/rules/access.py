"""Who may do more than before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stacks.changes.model import Body, Danger, Delta, Kind
from stacks.changes.rules.breadth import DANGEROUS, breadth, powerful
from stacks.changes.rules.saying import high, medium

EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})
RULE = "iam-widened"
_MOST_NAMED = 3


def grants(delta: Delta) -> Iterator[Danger]:
    """Find a member that gets a role, a broader one, or has it under no condition any more."""
    if "_iam_" not in delta.type or delta.after is None or "role" not in delta.after:
        return
    role, members = str(delta.after["role"]), _members(delta.after)
    new = [member for member in members if member not in _members(delta.before or {})]
    if EVERYBODY & set(new):
        yield high(RULE, f"Everybody on the internet gets {role}.")
    elif new:
        yield (high if powerful(role) else medium)(RULE, f"{_named(new)} gets {role}.")
    if delta.before is not None and not new:
        yield from _another_role(str(delta.before.get("role")), role, members)
        yield from _condition(delta)
    if _sets(members) > _sets(_members(delta.before or {})):
        yield high(RULE, f"{_named(members)} is every identity that matches, not one.")


def _members(body: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in (*body.get("members", ()), *([body["member"]] if "member" in body else ()))]


def _named(members: Sequence[str]) -> str:
    more = len(members) - _MOST_NAMED
    return ", ".join(members[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _sets(members: Sequence[str]) -> int:
    return sum(member.startswith("principalSet://") for member in members)


def _another_role(before: str, after: str, members: Sequence[str]) -> Iterator[Danger]:
    if before == after:
        return
    old, new = breadth(before), breadth(after)
    if powerful(after) or (old is not None and new is not None and new > old):
        yield high(RULE, f"{_named(members)} gets a broader role: {before} → {after}.")
    elif old is None or new is None or new == old:
        yield medium(RULE, f"{_named(members)} gets another role: {before} → {after}.")


def _condition(delta: Delta) -> Iterator[Danger]:
    before, after = delta.both("condition", "expression")
    if before and not after:
        yield high(RULE, "The condition is gone under which the role was given.")
    elif before != after and not _narrower(before, after):
        yield medium(RULE, "The condition is another under which the role is given.")


def _narrower(before: Any, after: Any) -> bool:
    """Say whether a condition asks for all it did, and more."""
    return not before or (
        isinstance(after, str) and after.replace("(", "").startswith(f"{before} && ".replace("(", ""))
    )


def swapped(deltas: Sequence[Delta]) -> Mapping[int, Danger]:
    """Return by position the grants that take the place of narrower ones of the same member under another address."""
    lost = [delta for delta in deltas if delta.kind is Kind.DESTROYED and "_iam_" in delta.type and delta.before]
    return {
        i: danger
        for i, delta in enumerate(deltas)
        if delta.kind is Kind.ADDED and "_iam_" in delta.type
        for other in lost
        if _same_but_role(other, delta)
        for danger in _another_role(_role(other.before), _role(delta.after), _members(delta.after or {}))
    }


def _role(body: Body | None) -> str:
    return str((body or {}).get("role"))


def _same_but_role(one: Delta, other: Delta) -> bool:
    before, after = one.before or {}, other.after or {}
    return one.type == other.type and all(before.get(name) == after.get(name) for name in {*before, *after} - {"role"})


def custom_roles(delta: Delta) -> Iterator[Danger]:
    """Find a role of one's own that may do more."""
    if "_iam_custom_role" not in delta.type or delta.before is None or delta.after is None:
        return
    new = sorted(set(delta.after.get("permissions", ())) - set(delta.before.get("permissions", ())))
    if new:
        says = high if any(DANGEROUS.search(one) for one in new) else medium
        yield says(RULE, f"All who have this role may also do {_named(new)}.")


def federation(delta: Delta) -> Iterator[Danger]:
    """Find tokens of others that are let in."""
    if delta.type != "google_iam_workload_identity_pool_provider" or delta.after is None:
        return
    rule = "federation-widened"
    if delta.before is None:
        yield high(rule, "Tokens of another issuer are let in.")
        return
    before, after = delta.both("attribute_condition")
    if before and not after:
        yield high(rule, "Every token of the issuer is let in: the condition is gone.")
    elif before != after and not _narrower(before, after):
        yield high(rule, "Other tokens are let in: the condition is another.")
    for block, says in (("oidc", "The issuer or its audiences are others."), ("saml", "The issuer is another.")):
        if delta.at("before", block) != delta.at("after", block):
            yield high(rule, says)
    if delta.at("before", "attribute_mapping") != delta.at("after", "attribute_mapping"):
        yield medium(rule, "Claims of tokens are mapped otherwise: subjects and conditions may mean others.")


def stores(delta: Delta) -> Iterator[Danger]:
    """Find a store that lets in those who are not asked who they are."""
    if delta.after is None or delta.before is None:
        return
    if delta.at("before", "authorization_mode") == "IAM_AUTH" and delta.at("after", "authorization_mode") != "IAM_AUTH":
        yield high(RULE, "Whoever reaches it may use it: it no longer asks for an identity.")
    before, after = delta.both("public_access_prevention")
    if before == "enforced" and after != before:
        yield high(RULE, "Objects can be made public.")
    before, after = delta.both("uniform_bucket_level_access")
    if before is True and after is not True:
        yield high(RULE, "Objects can be given to others one by one.")
