"""Cloud Armor: what the load balancer refuses before a pod sees it.

The first rule that matches decides, also when it allows: the limit by address lets through what conforms, so it stands
behind everything that denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from cdktf_cdktf_provider_google.compute_security_policy import (
    ComputeSecurityPolicy,
    ComputeSecurityPolicyAdaptiveProtectionConfig,
    ComputeSecurityPolicyAdaptiveProtectionConfigLayer7DdosDefenseConfig,
    ComputeSecurityPolicyAdvancedOptionsConfig,
    ComputeSecurityPolicyRule,
    ComputeSecurityPolicyRuleMatch,
    ComputeSecurityPolicyRuleMatchConfig,
    ComputeSecurityPolicyRuleMatchExpr,
    ComputeSecurityPolicyRuleRateLimitOptions,
    ComputeSecurityPolicyRuleRateLimitOptionsRateLimitThreshold,
)
from constructs import Construct

from stacks.environment import Environment

SENSITIVITY = 1
"""OWASP's paranoia level: the signatures that are nearly never wrong. Level 2 refuses ordinary JSON."""
CIDRS_PER_RULE = 10
EXPRESSIONS_PER_RULE = 5
"""Both are Google's limits: https://cloud.google.com/armor/quotas"""
BAN_S = 600
CONTROL_REQUESTS_PER_MINUTE = 600
"""Of one address: a portal and a few scripts behind one office's."""
BLOCKED, ATTACKS, RATE, REST = 1_000, 2_000, 9_000, 2_147_483_647
"""Priorities, the lowest first; steps of ten leave room for a rule made by hand at night."""


class Signatures(msgspec.Struct, frozen=True):
    """One of Google's sets of the OWASP core rule set, and why it only watches (nothing: it refuses)."""

    name: str
    preview: str = ""


EDGE_SIGNATURES = (
    Signatures("lfi-v33-stable"),
    Signatures("scannerdetection-v33-stable"),
    Signatures("sessionfixation-v33-stable"),
    Signatures("cve-canary"),
    Signatures("sqli-v33-stable", "words of SQL are ordinary text in a prompt or a description"),
    Signatures("xss-v33-stable", "HTML is ordinary text in a document; we answer JSON, which no browser runs"),
    Signatures("rfi-v33-stable", "addresses are ordinary arguments: call-backs, sources to read"),
    Signatures("rce-v33-stable", "names of commands are ordinary text, in code above all"),
    Signatures(
        "protocolattack-v33-stable", "line ends in strings look like split answers; Envoy refuses the real ones"
    ),
    Signatures("methodenforcement-v33-stable", "refuses PUT, PATCH and DELETE, which routes may have"),
)
CONTROL_SIGNATURES = tuple(one for one in EDGE_SIGNATURES if not one.name.startswith("methodenforcement"))
"""All of them refuse: the control API takes digests, names and a line of why; but it revokes keys by DELETE."""


def edge_policy(scope: Construct, environment: Environment) -> ComputeSecurityPolicy:
    """Return the policy of what clients call: attacks that are certain are refused, the others watched."""
    return _policy(
        scope,
        "edge",
        environment,
        [
            *_blocked(environment.blocked_cidrs),
            *(_attack(at, [one], preview=bool(one.preview)) for at, one in enumerate(EDGE_SIGNATURES)),
            _limit(environment.requests_per_minute_per_address),
        ],
    )


def control_policy(scope: Construct, environment: Environment) -> ComputeSecurityPolicy:
    """Return the stricter policy of the control API; who calls it is the identity-aware proxy's question."""
    groups = [
        CONTROL_SIGNATURES[at : at + EXPRESSIONS_PER_RULE]  # few rules: a project has twenty with expressions
        for at in range(0, len(CONTROL_SIGNATURES), EXPRESSIONS_PER_RULE)
    ]
    return _policy(
        scope,
        "control",
        environment,
        [
            *_blocked(environment.blocked_cidrs),
            *(_attack(at, group, preview=False) for at, group in enumerate(groups)),
            _limit(CONTROL_REQUESTS_PER_MINUTE),
        ],
    )


def _policy(
    scope: Construct, name: str, environment: Environment, rules: Iterable[ComputeSecurityPolicyRule]
) -> ComputeSecurityPolicy:
    return ComputeSecurityPolicy(
        scope,
        f"armor-{name}",
        name=f"apx-{environment.name}-{name}",
        type="CLOUD_ARMOR",
        adaptive_protection_config=ComputeSecurityPolicyAdaptiveProtectionConfig(
            layer7_ddos_defense_config=ComputeSecurityPolicyAdaptiveProtectionConfigLayer7DdosDefenseConfig(
                enable=True, rule_visibility="STANDARD"
            )
        ),
        # Signatures look at the values of a JSON body one by one, not at its text.
        advanced_options_config=ComputeSecurityPolicyAdvancedOptionsConfig(json_parsing="STANDARD"),
        rule=[*rules, ComputeSecurityPolicyRule(action="allow", priority=REST, match=_from(["*"]))],
    )


def _blocked(cidrs: Sequence[str]) -> list[ComputeSecurityPolicyRule]:
    return [
        ComputeSecurityPolicyRule(
            action="deny(403)",
            priority=BLOCKED + at,
            description="blocked_cidrs of the environment",
            match=_from(list(cidrs[at : at + CIDRS_PER_RULE])),
        )
        for at in range(0, len(cidrs), CIDRS_PER_RULE)
    ]


def _attack(at: int, signatures: Sequence[Signatures], *, preview: bool) -> ComputeSecurityPolicyRule:
    expressions = [f"evaluatePreconfiguredWaf('{one.name}', {{'sensitivity': {SENSITIVITY}}})" for one in signatures]
    return ComputeSecurityPolicyRule(
        action="deny(403)",
        priority=ATTACKS + 10 * at,
        description=f"{signatures[0].name} and {len(signatures) - 1} more" if signatures[1:] else signatures[0].name,
        preview=preview,
        match=ComputeSecurityPolicyRuleMatch(
            expr=ComputeSecurityPolicyRuleMatchExpr(expression=" || ".join(expressions))
        ),
    )


def _limit(requests_per_minute: int) -> ComputeSecurityPolicyRule:
    return ComputeSecurityPolicyRule(
        action="rate_based_ban",
        priority=RATE,
        description="too many requests of one address: ten minutes",
        match=_from(["*"]),
        rate_limit_options=ComputeSecurityPolicyRuleRateLimitOptions(
            conform_action="allow",
            exceed_action="deny(429)",
            enforce_on_key="IP",
            ban_duration_sec=BAN_S,
            rate_limit_threshold=ComputeSecurityPolicyRuleRateLimitOptionsRateLimitThreshold(
                count=requests_per_minute, interval_sec=60
            ),
        ),
    )


def _from(ranges: list[str]) -> ComputeSecurityPolicyRuleMatch:
    return ComputeSecurityPolicyRuleMatch(
        versioned_expr="SRC_IPS_V1", config=ComputeSecurityPolicyRuleMatchConfig(src_ip_ranges=ranges)
    )
