"""The catalogue of every metric: each declared once, with name, unit (in the name), labels, meaning and buckets.

    from apx.telemetry import metrics

    metrics.ADMISSIONS.inc("orders", "admitted", "ok")
    metrics.ADMISSION_DURATION.observe(0.000_075, "admitted")

Label values come in the order of the declaration. No label is an org, a key, a request or anything that a client
writes. `know_products` says which products exist; another name counts as `other`.
`python -m apx.telemetry.metrics` prints the table in `docs/telemetry.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

from apx.telemetry.instruments import Age, Counter, Gauge, Histogram, Info, Instrument
from apx.telemetry.labels import Label

Metric = Instrument[float] | Instrument[list[float]]
REGISTRY = CollectorRegistry()
GCCollector(REGISTRY)
ProcessCollector(registry=REGISTRY)

PRODUCT = Label("product", limit=300)  # a scrape costs 0.25 s of CPU with 300, 0.66 s with 1000
CODE = Label("code")
REASON = Label("reason")
STATUS_CLASS = Label("status_class", ("1xx", "2xx", "3xx", "4xx", "5xx", "none"))
POLICY_FAILURES = ("policy-trap", "policy-timeout", "policy-undefined", "policy-malformed", "policy-memory")
CAUSES = ("connect", "timeout", "429", "500", "502", "503", "504", "crash")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS_SHORT = (25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
SECONDS_TINY = (1e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 0.001, 0.0025, 0.005, 0.01, 0.05)
SECONDS_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)


def know_products(names: Iterable[str]) -> None:
    """Say which products exist now; others count as `other`, and the series of those that are gone are dropped."""
    PRODUCT.know(names)


def status_class(status: int | None) -> str:
    """Return `2xx` for 200, and so on; `none` where there was no answer."""
    return _CLASSES.get(status // 100, "none") if status else "none"


_CLASSES = {n: f"{n}xx" for n in range(1, 6)}

# -- admission ---------------------------------------------------------------------------------------------------------

ADMISSIONS = Counter(
    "apx_admissions_total",
    "Requests that admission answered; `code` is the problem's code of a refusal, `ok` otherwise.",
    (PRODUCT, Label("outcome", ("admitted", "refused")), CODE),
    registry=REGISTRY,
)
ADMISSION_DURATION = Histogram(
    "apx_admission_duration_seconds",
    "Route, key, decision and limits of one request.",
    (Label("outcome", ("admitted", "refused")),),
    buckets=SECONDS_SHORT,
    registry=REGISTRY,
)
DECISIONS = Counter(
    "apx_decisions_total",
    "Answers of policies; `failed` is a deny because the policy did not work.",
    (PRODUCT, Label("result", ("allow", "deny", "failed"))),
    registry=REGISTRY,
)
DECISION_FAILURES = Counter(
    "apx_decision_failures_total",
    "Policies that did not work, by what went wrong.",
    (PRODUCT, Label("reason", POLICY_FAILURES)),
    registry=REGISTRY,
)
DECISION_DURATION = Histogram(
    "apx_decision_duration_seconds",
    "One evaluation of a policy; remembered answers are not in it.",
    (PRODUCT,),
    buckets=SECONDS_TINY,
    registry=REGISTRY,
)
DECISION_MEMO_HITS = Counter(
    "apx_decision_memo_hits_total", "Decisions that were remembered, not evaluated.", (PRODUCT,), registry=REGISTRY
)
VALIDATIONS = Counter(
    "apx_request_validations_total",
    "Requests held against an OpenAPI document; `observed` departed from it and went on, as its product asks.",
    (PRODUCT, Label("result", ("valid", "refused", "observed"))),
    registry=REGISTRY,
)
VALIDATION_DURATION = Histogram(
    "apx_request_validation_duration_seconds",
    "Holding one request against an OpenAPI document.",
    (PRODUCT,),
    buckets=SECONDS_TINY,
    registry=REGISTRY,
)
KEY_LOOKUPS = Counter(
    "apx_key_lookups_total",
    "API keys looked for: `hit` in the cache, `miss` read from the store, `unknown` to both, `malformed` unread.",
    (Label("result", ("hit", "miss", "unknown", "malformed", "failed")),),
    registry=REGISTRY,
)
LIMITS_REFUSED = Counter(
    "apx_limits_refused_total",
    "Requests that a limit refused.",
    (PRODUCT, Label("limit", ("rate", "away", "quota", "budget", "backlog", "concurrency"))),
    registry=REGISTRY,
)

LIMITS_OBSERVED = Counter(
    "apx_limits_observed_total",
    "Requests that a limit would have refused, if its plan did not only observe.",
    (PRODUCT, Label("limit", ("rate", "quota"))),
    registry=REGISTRY,
)

BUDGET_MARKS = Counter(
    "apx_budget_marks_total",
    "Marks of orgs' budgets that were passed, by what they do.",
    (Label("does", ("notice", "throttle", "stop")),),
    registry=REGISTRY,
)

LIMIT_STORE_FAILURES = Counter(
    "apx_limit_store_failures_total",
    "Times that the store of limits did not answer in time, or said that it cannot.",
    (Label("cause", ("timeout", "unavailable")),),
    registry=REGISTRY,
)

SHED = Counter(
    "apx_shed_total",
    "Requests that were turned away because there was too much work; 101 is who collects a result.",
    (PRODUCT, Label("priority")),
    registry=REGISTRY,
)
WORK_UNDER_WAY = Gauge(
    "apx_work_under_way_requests", "Requests that this router works on; who waits is none.", registry=REGISTRY
)
WORK_LIMIT = Gauge(
    "apx_work_limit_requests", "How many it takes on at once, of the plan with the highest priority.", registry=REGISTRY
)

# -- accepting and answering -------------------------------------------------------------------------------------------

ACCEPTS = Counter(
    "apx_accepts_total",
    "Publishes by what became of them; only `accepted` and `duplicate` are a 202.",
    (PRODUCT, Label("outcome", ("accepted", "duplicate", "conflict", "backlog", "failed"))),
    registry=REGISTRY,
)
ACCEPT_DURATION = Histogram(
    "apx_accept_duration_seconds",
    "From the request's last byte to its durable 202.",
    (PRODUCT,),
    buckets=SECONDS,
    registry=REGISTRY,
)
PUBLISH_BATCH = Histogram(
    "apx_publish_batch_envelopes", "Envelopes written in one batch.", buckets=SIZES, registry=REGISTRY
)
PUBLISH_FAILURES = Counter(
    "apx_publish_failures_total",
    "Batches that were not written.",
    (Label("cause", ("unavailable", "timeout", "full", "internal")),),
    registry=REGISTRY,
)
JOURNAL_RECOVERED = Counter(
    "apx_journal_recovered_total",
    "Requests that the lanes had lost and the journal offered again.",
    (PRODUCT,),
    registry=REGISTRY,
)
JOURNAL_FAILURES = Counter(
    "apx_journal_failures_total", "Times that a journal could not be read.", (PRODUCT,), registry=REGISTRY
)
RESPONSES = Counter("apx_responses_total", "Answers to clients.", (PRODUCT, STATUS_CLASS), registry=REGISTRY)
STREAMS_OPEN = Gauge(
    "apx_streams_open",
    "Clients that hold a connection: `sse` event streams, `wait`s for a result, `sync` streams.",
    (Label("kind", ("sse", "wait", "sync")),),
    registry=REGISTRY,
)

# -- releases and rollouts ---------------------------------------------------------------------------------------------

RELEASE_LOADS = Counter(
    "apx_release_loads_total",
    "Releases that were read; `reason` is the error's code of a refused one, `ok` otherwise.",
    (PRODUCT, Label("outcome", ("loaded", "refused")), REASON),
    registry=REGISTRY,
)
RELEASE_ACTIVE = Info(
    "apx_release_active_info",
    "1 for the release that serves an arm; `digest` is its first 12 hex digits.",
    (PRODUCT, Label("arm", ("stable", "candidate")), Label("digest")),
    registry=REGISTRY,
)
RELEASE_STORE_AGE = Age("apx_release_store_age_seconds", "Since the release store last answered.", registry=REGISTRY)
ROLLOUT_STORE_AGE = Age("apx_rollout_store_age_seconds", "Since the rollout store last answered.", registry=REGISTRY)
COUNTS_DROPPED = Counter(
    "apx_counts_dropped_total",
    "Requests and answers that the judge may not hear of: a `write` failed, or too many waited (`full`).",
    (Label("cause", ("full", "write")),),
    registry=REGISTRY,
)

ROLLOUT_WEIGHT = Gauge(
    "apx_rollout_weight_percent", "Share of the orgs that a candidate serves.", (PRODUCT,), registry=REGISTRY
)
ROLLOUT_MOVEMENTS = Counter(
    "apx_rollout_movements_total",
    "What the monitor did to rollouts.",
    (PRODUCT, Label("event", ("begin", "advance", "promote", "pause", "abort"))),
    registry=REGISTRY,
)
VERDICTS = Counter(
    "apx_judge_verdicts_total",
    "What the judge said, at each look.",
    (PRODUCT, Label("outcome", ("pass", "fail", "inconclusive"))),
    registry=REGISTRY,
)
MONITOR_LEADS = Gauge(
    "apx_monitor_leads", "1 in the monitor that moves rollouts, 0 in one that stands by.", registry=REGISTRY
)
MONITOR_FAILURES = Counter(
    "apx_monitor_failures_total", "Looks at the rollouts that ended in a fault.", registry=REGISTRY
)

# -- worker ------------------------------------------------------------------------------------------------------------

DELIVERIES = Counter("apx_worker_deliveries_total", "Deliveries taken from lanes.", (PRODUCT,), registry=REGISTRY)
ATTEMPTS = Counter("apx_worker_attempts_total", "Calls to backends.", (PRODUCT,), registry=REGISTRY)
RETRIES = Counter(
    "apx_worker_retries_total",
    "Attempts that are tried again, by what went wrong.",
    (PRODUCT, Label("cause", CAUSES)),
    registry=REGISTRY,
)
RESULTS = Counter(
    "apx_worker_results_total",
    "Terminal states written.",
    (PRODUCT, Label("state", ("succeeded", "failed", "expired", "cancelled"))),
    registry=REGISTRY,
)
BACKEND_DURATION = Histogram(
    "apx_backend_duration_seconds",
    "One call to a backend, first byte to last; `none` where it gave no answer.",
    (PRODUCT, STATUS_CLASS),
    buckets=SECONDS_LONG,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("apx_worker_in_flight", "Deliveries that this worker holds.", (PRODUCT,), registry=REGISTRY)
DEAD_LETTERS = Counter(
    "apx_worker_dead_letters_total",
    "Requests that were given up, by reason.",
    (PRODUCT, REASON),
    registry=REGISTRY,
)
SETTLE_FAILURES = Counter(
    "apx_worker_settle_failures_total", "Settlements that the store did not take; they are repeated.", registry=REGISTRY
)
LEASES_LOST = Counter(
    "apx_worker_leases_lost_total", "Deliveries whose lane passed to another worker.", (PRODUCT,), registry=REGISTRY
)
STREAM_CHUNKS = Counter(
    "apx_worker_stream_chunks_total", "Pieces of streamed answers passed on.", (PRODUCT,), registry=REGISTRY
)
LANES_WAITING = Gauge(
    "apx_lanes_waiting_requests", "Requests that wait or run, over all lanes.", (PRODUCT,), registry=REGISTRY
)

USAGE_COLLECTED = Counter(
    "apx_usage_collected_events_total", "Usage events that were moved from the log to files.", registry=REGISTRY
)
USAGE_FAILURES = Counter(
    "apx_usage_collect_failures_total", "Times that usage could not be moved; it waits.", registry=REGISTRY
)

WEBHOOK_QUEUED = Counter(
    "apx_webhooks_queued_deliveries_total", "Deliveries to webhooks that were queued.", registry=REGISTRY
)
WEBHOOK_DROPPED = Counter(
    "apx_webhooks_dropped_deliveries_total",
    "Deliveries that were not queued, as too many wait for their webhook.",
    registry=REGISTRY,
)
WEBHOOK_DISABLED = Counter(
    "apx_webhooks_disabled_total", "Webhooks that were disabled as their receiver is dead or gone.", registry=REGISTRY
)
WEBHOOK_FAILURES = Counter(
    "apx_webhooks_failures_total",
    "Times that webhooks could not be told, or looked after; events wait.",
    registry=REGISTRY,
)

# -- the process itself ------------------------------------------------------------------------------------------------

EVENT_LOOP_LAG = Gauge(
    "apx_event_loop_lag_seconds", "How late the event loop runs: the worst of the last 15 s.", registry=REGISTRY
)
LOG_LINES_DROPPED = Counter(
    "apx_log_lines_dropped_total",
    "Log lines lost: the buffer was `full`, or `write` failed.",
    (Label("cause", ("full", "write")),),
    registry=REGISTRY,
)
SPANS_DROPPED = Counter(
    "apx_spans_dropped_total",
    "Spans lost: the queue was `full`, or `export` failed.",
    (Label("cause", ("full", "export")),),
    registry=REGISTRY,
)

CATALOGUE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Instrument))


def table() -> str:
    """Render the catalogue as a Markdown table."""
    rows = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    rows += [f"| `{m.name}` | {m.kind} | {_labels(m)} | {m.meaning}{_buckets(m)} |" for m in CATALOGUE]
    return "\n".join(rows) + "\n"


def _labels(metric: Metric) -> str:
    return ", ".join(
        f"`{label.name}`" + (f" ({' '.join(label.values)})" if label.values else "") for label in metric.labels
    )


def _buckets(metric: Metric) -> str:
    bounds = metric.buckets
    return f" Buckets: {len(bounds)}, {bounds[0]:g} to {bounds[-1]:g}." if bounds else ""


if __name__ == "__main__":
    sys.stdout.write(table())
