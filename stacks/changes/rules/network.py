"""What can be reached from where it could not be."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stacks.changes.model import Body, Danger, Delta, Kind
from stacks.changes.rules.saying import high, medium

ANYWHERE = frozenset({"0.0.0.0/0", "::/0"})
RULE = "network-opened"
_BOUND = ("source_tags", "source_service_accounts", "target_tags", "target_service_accounts")
_DEFAULT_PRIORITY = 1_000


def firewalls(delta: Delta) -> Iterator[Danger]:
    """Find a rule that lets more in, or refuses less."""
    if delta.type != "google_compute_firewall":
        return
    for body in (delta.before, delta.after):
        if body is not None and "deny" in body:
            yield from _denying(delta)
            return
    yield from _allowing(delta)


def _denying(delta: Delta) -> Iterator[Danger]:
    if delta.kind is Kind.DESTROYED or (delta.after is not None and "deny" not in delta.after):
        yield high(RULE, "A rule is gone that refused what no other allows.")
        return
    if delta.before is None or delta.after is None:
        return
    before, after = (int(body.get("priority", _DEFAULT_PRIORITY)) for body in (delta.before, delta.after))
    if after > before:
        yield high(RULE, f"A rule that refuses comes later than others: priority {before} → {after}.")
    if _wider(delta.after.get("source_ranges"), delta.before.get("source_ranges")):
        yield high(RULE, "A rule refuses fewer sources.")
    if any(item not in _items(delta.after.get("deny")) for item in _items(delta.before.get("deny"))):
        yield high(RULE, "A rule refuses fewer protocols or ports.")
    if delta.after.get("disabled") is True and not delta.before.get("disabled"):
        yield high(RULE, "A rule that refuses is turned off.")


def _allowing(delta: Delta) -> Iterator[Danger]:
    if delta.after is None:
        return
    peers, does = _peers(delta.after)
    ranges = delta.after.get(peers)
    if delta.before is None:
        says = high if does == "lets in" and _anywhere(delta.after) else medium
        yield says(RULE, f"A new rule {does} {_said(ranges)}: {_ports(_items(delta.after.get('allow')))}.")
        return
    if new := _wider(delta.before.get(peers), ranges):
        yield (high if ANYWHERE & set(new) else medium)(RULE, f"A rule also {does} {_said(new)}.")
    before = _items(delta.before.get("allow"))
    if more := [item for item in _items(delta.after.get("allow")) if not _covered(item, before)]:
        yield high(RULE, f"A rule also {does} {_ports(more)}.")
    if any(delta.before.get(name) and not delta.after.get(name) for name in _BOUND):
        yield high(RULE, "A rule is no longer bound to some machines.")
    old, first = (int(body.get("priority", _DEFAULT_PRIORITY)) for body in (delta.before, delta.after))
    if first < old:
        yield medium(RULE, f"A rule that allows comes before others: priority {old} → {first}.")
    if delta.before.get("disabled") is True and not delta.after.get("disabled"):
        yield medium(RULE, "A rule that allows is turned on.")


def _peers(body: Body) -> tuple[str, str]:
    """Return which attribute says who is let in or out, and which of the two it is."""
    if body.get("direction") == "EGRESS":
        return "destination_ranges", "lets out to"
    return "source_ranges", "lets in"


def _anywhere(body: Body) -> bool:
    ranges = body.get("source_ranges")
    bound = body.get("source_tags") or body.get("source_service_accounts")
    return bool(ANYWHERE & set(ranges or ())) or (not ranges and not bound)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []


def _wider(before: Any, after: Any) -> list[str]:
    """Return the ranges that none of the earlier ones holds; no ranges at all are every one."""
    old = [_network(one) for one in (before or ANYWHERE)]
    return [one for one in (after or sorted(ANYWHERE)) if not any(_within(_network(one), other) for other in old)]


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:  # known only after apply
        return str(text)


def _within(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str) or one.version != other.version:
        return bool(one == other)
    return bool(one.subnet_of(other))


def _covered(item: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether protocol and ports of a rule's item were let in before; without ports are all."""
    ports = set(item.get("ports") or ())
    same = [other for other in others if other.get("protocol") in (item.get("protocol"), "all")]
    if any(not other.get("ports") for other in same):
        return True
    return bool(ports) and ports <= {port for other in same for port in other["ports"]}


def _said(sources: Any) -> str:
    return ", ".join(map(str, sources)) if sources else "every address"


def _ports(items: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{item.get('protocol')} {','.join(item.get('ports') or ['on every port'])}" for item in items)


def armor(delta: Delta) -> Iterator[Danger]:
    """Find requests that Cloud Armor refused, and lets through."""
    if delta.type != "google_compute_security_policy" or delta.before is None:
        return
    if delta.after is None:
        yield high("armor-weakened", "A policy of Cloud Armor is gone.")
        return
    after = {rule.get("priority"): rule for rule in _items(delta.after.get("rule"))}
    for rule in _items(delta.before.get("rule")):
        yield from _armor_rule(rule, after.get(rule.get("priority")))
    known = {rule.get("priority") for rule in _items(delta.before.get("rule"))}
    for priority in sorted(p for p, rule in after.items() if p not in known and rule.get("action") == "allow"):
        yield medium("armor-weakened", f"A new rule lets requests through before others refuse them: {priority}.")


def _armor_rule(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> Iterator[Danger]:
    priority, action = before.get("priority"), before.get("action")
    if action == "allow" or before.get("preview") is True or before == after:
        return
    if after is None:
        yield high("armor-weakened", f"A rule of Cloud Armor is gone: {priority}, {action}.")
    elif after.get("action") == "allow" or after.get("preview") is True:
        yield high("armor-weakened", f"A rule of Cloud Armor no longer refuses: {priority}.")
    else:
        yield medium("armor-weakened", f"A rule of Cloud Armor is another: {priority}, {action}.")


def front_doors(delta: Delta) -> Iterator[Danger]:
    """Find what no longer stands before a backend, and new ways in from the internet."""
    if delta.type == "google_compute_backend_service" and delta.before is not None and delta.after is not None:
        if delta.at("before", "iap", "enabled") is True and delta.at("after", "iap", "enabled") is not True:
            yield high("iap-off", "Identity-Aware Proxy no longer asks who calls.")
        if delta.before.get("security_policy") and not delta.after.get("security_policy"):
            yield high("armor-weakened", "No policy of Cloud Armor stands before it any more.")
    if delta.type == "google_compute_global_forwarding_rule" and delta.kind is Kind.ADDED:
        yield medium(RULE, "A new address answers on the internet.")
    if delta.type == "kubernetes_service_v1" and _outside(delta.after) and not _outside(delta.before):
        yield high(RULE, f"The service is reachable from outside the cluster: {delta.at('after', 'spec', 'type')}.")


def _outside(body: Body | None) -> bool:
    spec = (body or {}).get("spec") or {}
    return isinstance(spec, Mapping) and spec.get("type") in ("LoadBalancer", "NodePort")


def network_policies(delta: Delta) -> Iterator[Danger]:
    """Find pods that may talk to more than before, or be talked to."""
    if delta.type != "kubernetes_network_policy_v1" or delta.before is None:
        return
    if delta.after is None:
        yield high("network-policy-weakened", "A network policy is gone: what it closed is open.")
        return
    if set(delta.at("before", "spec", "policy_types") or ()) - set(delta.at("after", "spec", "policy_types") or ()):
        yield high("network-policy-weakened", "The policy no longer closes one of the two directions.")
    if delta.at("before", "spec", "pod_selector") != delta.at("after", "spec", "pod_selector"):
        yield medium("network-policy-weakened", "The policy is of other pods: those it was of may be open.")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        old, new = (_rules(delta.at(side, "spec", direction)) for side in ("before", "after"))
        for text in sorted(new - old):
            yield _opening(json.loads(text), direction, peers)


def _rules(rules: Any) -> set[str]:
    return {json.dumps(rule, sort_keys=True) for rule in _items(rules)} if rules is not None else set()


def _opening(rule: Mapping[str, Any], direction: str, peers: str) -> Danger:
    anywhere = not rule.get(peers) or any(
        (peer.get("ip_block") or {}).get("cidr") in ANYWHERE for peer in _items(rule.get(peers))
    )
    where = "everywhere" if anywhere else "more peers or ports"
    return (high if anywhere else medium)("network-policy-weakened", f"The policy opens {direction} for {where}.")
