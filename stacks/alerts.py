"""What wakes somebody, as PromQL: over our metrics (docs/telemetry.md), our log lines, and Google's metrics.

Google's names become PromQL's by a rule: `pubsub.googleapis.com/subscription/x` is
`pubsub_googleapis_com:subscription_x` (https://cloud.google.com/monitoring/promql/promql-mapping). A counter that
never counted has no series, and its first count is no increase: what happens once a month is counted in the logs.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["CRITICAL", "ERROR", "WARNING"]
"""CRITICAL: now, at any hour. ERROR: today. WARNING: when there is time this week."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One condition that calls somebody, and the runbook that they open."""

    name: str
    title: str
    means: str
    """What it says to somebody who was asleep."""
    query: str
    for_s: int = 0
    """How long the query must give an answer, a multiple of sixty."""
    severity: Severity
    runbook: str
    """A file in docs/runbooks, without its ending."""


def alerts(domain: str) -> tuple[Alert, ...]:
    """Return every alert but those on the error budget, for an installation that answers at `domain`."""
    return (*LANES, *PROCESSES, *ROLLOUTS, *PLACES, *_from_outside(domain))


OF_CLIENTS = '{product!~"apx-.+"}'
"""Not the deliveries to webhooks: they wait for hours by design, and it is their receivers that are away."""

LANES = (
    Alert(
        name="lanes-stand-still",
        title="A product's requests wait, and none ends",
        means="Requests were accepted, and for a quarter of an hour none of the product got a result.",
        query=(
            f"(max by (location, product) (apx_lanes_waiting_requests{OF_CLIENTS}) > 0)"
            " unless on (location, product)"
            " (sum by (location, product) (rate(apx_worker_results_total[15m])) > 0)"
        ),
        for_s=300,
        severity="CRITICAL",
        runbook="requests-wait-too-long",
    ),
    Alert(
        name="backlog-grows",
        title="A product's backlog would take ten minutes to work off",
        means="At the pace of the last ten minutes, a request that is accepted now gets its result after ten more.",
        query=(
            f"max by (location, product) (apx_lanes_waiting_requests{OF_CLIENTS})"
            " / (sum by (location, product) (rate(apx_worker_results_total[10m])) > 0) > 600"
        ),
        for_s=600,
        severity="ERROR",
        runbook="requests-wait-too-long",
    ),
    Alert(
        name="oldest-message",
        title="A request has no result after half an hour",
        means="The journal's oldest entry is that old: its request waits, runs long, or nobody reads the journal.",
        query=(
            "max by (subscription_id) (pubsub_googleapis_com:subscription_oldest_unacked_message_age"
            '{subscription_id=~"apx-.+", subscription_id!~".+_dead|.+-requests-apx-.+"}) > 1800'
        ),
        for_s=300,
        severity="ERROR",
        runbook="requests-wait-too-long",
    ),
    Alert(
        name="dead-letters",
        title="Requests of a product are given up",
        means="More than ten requests within a quarter of an hour ended as dead letters for the same reason.",
        query=f"sum by (product, reason) (increase(apx_worker_dead_letters_total{OF_CLIENTS}[15m])) > 10",
        severity="WARNING",
        runbook="requests-are-given-up",
    ),
    Alert(
        name="undeliverable",
        title="Pub/Sub gave up a message",
        means="A message was delivered as often as it may be, and nobody acknowledged it.",
        query=(
            "sum by (subscription_id) (pubsub_googleapis_com:subscription_num_undelivered_messages"
            '{subscription_id=~"apx-.+_dead"}) > 0'
        ),
        severity="ERROR",
        runbook="requests-are-given-up",
    ),
)

PROCESSES = (
    Alert(
        name="store-away",
        title="A store does not take what is written",
        means="Requests are answered with 503, or results are not kept: publishing or settling fails.",
        query=(
            "sum by (location) (rate(apx_publish_failures_total[5m])) > 0.1"
            " or sum by (location) (rate(apx_worker_settle_failures_total[5m])) > 0.1"
        ),
        for_s=120,
        severity="CRITICAL",
        runbook="the-store-is-away",
    ),
    Alert(
        name="follows-nothing",
        title="A process does not hear what is live",
        means="No sign of life of the rollout store for a minute; one comes every two seconds. What serves stays.",
        query="max by (location, job) (apx_rollout_store_age_seconds) > 60",
        for_s=120,
        severity="ERROR",
        runbook="a-process-does-not-follow",
    ),
    Alert(
        name="loop-late",
        title="An event loop is late",
        means="A process is out of CPU, or something blocks it: every request in it waits.",
        query="max by (location, job) (apx_event_loop_lag_seconds) > 0.25",
        for_s=300,
        severity="WARNING",
        runbook="the-event-loop-is-late",
    ),
    Alert(
        name="sheds",
        title="Requests are turned away",
        means="Routers have more to do than they can: the plans of lowest priority get 503 first.",
        query=(
            "sum by (location) (rate(apx_shed_total[5m]))"
            " / on (location) sum by (location) (rate(apx_responses_total[5m])) > 0.01"
        ),
        for_s=600,
        severity="ERROR",
        runbook="requests-are-turned-away",
    ),
    Alert(
        name="policies-fail",
        title="A policy does not work",
        means="A policy traps, runs too long or answers with nothing: each such request is denied.",
        query="sum by (product, reason) (increase(apx_decision_failures_total[10m])) > 5",
        severity="ERROR",
        runbook="a-policy-does-not-work",
    ),
    Alert(
        name="faults",
        title="A process of ours logs errors",
        means="A fault that no rule of ours foresees: an exception that nobody caught, or a loop that gave up.",
        query="sum by (process) (increase(logging_googleapis_com:user_apx_faults[10m])) > 0",
        severity="ERROR",
        runbook="a-fault-of-ours",
    ),
    Alert(
        name="edge-keeps-old-files",
        title="The edge does not take what was rendered for it",
        means="Envoy refused its files: what was released for synchronous products is not served by this edge.",
        query="sum(increase(logging_googleapis_com:user_apx_edge_refused[10m])) > 0",
        severity="ERROR",
        runbook="the-edge-keeps-old-files",
    ),
)

ROLLOUTS = (
    Alert(
        name="rollout-aborted",
        title="A rollout was aborted",
        means="The judge took a candidate back; every org is on the release that was stable before.",
        query="sum by (product) (increase(logging_googleapis_com:user_apx_rollouts_aborted[10m])) > 0",
        severity="WARNING",
        runbook="a-rollout-was-aborted",
    ),
    Alert(
        name="no-leader",
        title="No monitor leads",
        means="Rollouts neither go on nor are taken back: a bad candidate keeps its orgs.",
        query="(sum(apx_monitor_leads) or vector(0)) < 1",
        for_s=180,
        severity="CRITICAL",
        runbook="no-monitor-leads",
    ),
    Alert(
        name="monitor-fails",
        title="The monitor's looks end in faults",
        means="A monitor leads, and cannot do its work.",
        query="sum(rate(apx_monitor_failures_total[5m])) > 0.1",
        for_s=300,
        severity="ERROR",
        runbook="no-monitor-leads",
    ),
)

PLACES = (
    Alert(
        name="valkey-memory",
        title="Valkey's memory is four fifths full",
        means="Full, it refuses to write: no counts, no limits, no leases.",
        query="max by (location, instance_id) (memorystore_googleapis_com:instance_memory_maximum_utilization) > 0.8",
        for_s=600,
        severity="ERROR",
        runbook="valkey-is-full",
    ),
    Alert(
        name="nat-ports",
        title="Cloud NAT has no port left",
        means="Calls to backends on the internet fail before they leave: a machine holds all ports that it may have.",
        query=(
            "sum by (gateway_name) (increase("
            'router_googleapis_com:nat_dropped_sent_packets_count{reason="OUT_OF_RESOURCES"}[5m])) > 0'
        ),
        for_s=300,
        severity="ERROR",
        runbook="nat-has-no-ports",
    ),
)


def _from_outside(domain: str) -> tuple[Alert, ...]:
    """Return what Google's probers see from the internet."""
    return (
        Alert(
            name="does-not-answer",
            title="The edge does not answer the world",
            means="More than half of Google's probers, on several continents, get no good answer.",
            query=(
                f'avg(avg_over_time(monitoring_googleapis_com:uptime_check_check_passed{{host="{domain}"}}[3m])) < 0.5'
            ),
            for_s=60,
            severity="CRITICAL",
            runbook="the-edge-does-not-answer",
        ),
        Alert(
            name="certificate-ends",
            title="The certificate ends within two weeks",
            means="Google renews a month before the end; that this did not happen has a reason.",
            query=(
                "min(monitoring_googleapis_com:uptime_check_time_until_ssl_cert_expires"
                f'{{host="{domain}"}}) < 14'  # days
            ),
            for_s=3_600,
            severity="ERROR",
            runbook="the-certificate-ends",
        ),
    )
