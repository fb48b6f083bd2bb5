"""Why a change may be dangerous: every rule, in the order in which dangers are told.

| rule | says |
|---|---|
| `data-loss` | what keeps data is destroyed or replaced, or may be |
| `safeguard-off` | protection, versioning, recovery or backups are turned off |
| `retention-shortened` | something is kept shorter, or goes away by itself sooner |
| `encryption-dropped`, `encryption-changed` | a key of one's own or TLS is dropped or lowered; the key is another |
| `iam-widened` | a new member, a broader role, no condition, everybody, more permissions, a store that asks nobody |
| `federation-widened` | other tokens are let in by workload identity |
| `network-opened` | a firewall lets in more or refuses less; a new way in from outside |
| `armor-weakened`, `iap-off` | Cloud Armor refuses less; nobody is asked who calls |
| `network-policy-weakened` | pods may talk to more, or be talked to |
| `cluster-weakened`, `pod-security-weakened`, `attestation-weakened` | as they say |
| `monitoring-weakened` | an alert, objective, log or audit is gone or says less |
| `interruption` | what others stand on is gone or made anew |
| `state-moved`, `elsewhere` | another state, project or region |
"""

from __future__ import annotations

from collections.abc import Sequence

from stacks.changes.model import Danger, Delta, Part, Severity
from stacks.changes.rules import access, data, encryption, network, watch, weakness
from stacks.changes.rules.saying import Rule

RULES: tuple[Rule, ...] = (
    *(data.loss, data.safeguards, data.retention),
    *(encryption.keys, encryption.transport),
    *(access.grants, access.custom_roles, access.federation, access.stores),
    *(network.firewalls, network.armor, network.front_doors, network.network_policies),
    *(weakness.clusters, weakness.pods, weakness.attestation),
    *(watch.watching, watch.interruption, watch.settings),
)


def judge(deltas: Sequence[Delta]) -> list[tuple[Delta, tuple[Danger, ...]]]:
    """Return each delta with its dangers, the high ones first."""
    broader = access.swapped(deltas)
    return [(delta, _dangers(delta, broader.get(i))) for i, delta in enumerate(deltas)]


def _dangers(delta: Delta, broader: Danger | None) -> tuple[Danger, ...]:
    if delta.address.part not in (Part.RESOURCE, Part.SETTING):
        return ()
    found = [danger for rule in RULES for danger in rule(delta)]
    if broader is not None:
        found = [broader, *(danger for danger in found if danger.rule != broader.rule)]
    return tuple(sorted(dict.fromkeys(found), key=lambda danger: danger.severity is not Severity.HIGH))
