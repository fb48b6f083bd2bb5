"""The dashboard: what clients see, what waits, what rolls out, how the stores are, what it costs.

Cloud Monitoring's JSON (https://cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards), laid out from
sections of charts, each a title and its lines in PromQL.
"""

from __future__ import annotations

from typing import Any

import msgspec

COLUMNS, CHARTS_PER_ROW, HEIGHT, HEADER_HEIGHT = 48, 3, 16, 4
Json = dict[str, Any]


class Line(msgspec.Struct, frozen=True):
    """A query, the labels that its series are told apart by, and what stands before them in the legend."""

    query: str
    labels: tuple[str, ...] = ()
    name: str = ""

    @property
    def legend(self) -> str:
        """Return the legend's template; `$$` is Terraform's `$`."""
        return " ".join([self.name, *(f"$${{labels.{label}}}" for label in self.labels)]).strip()


class Chart(msgspec.Struct, frozen=True):
    """Lines over time."""

    title: str
    lines: tuple[Line, ...]
    unit: str = ""


def dashboard(name: str) -> Json:
    """Return the dashboard under a name."""
    tiles: list[Json] = []
    top = 0
    for title, charts in SECTIONS.items():
        tiles.append(_tile(0, top, COLUMNS, HEADER_HEIGHT, {"title": title, "sectionHeader": {"dividerBelow": True}}))
        top += HEADER_HEIGHT
        width = COLUMNS // CHARTS_PER_ROW
        for at, chart in enumerate(charts):
            row, column = divmod(at, CHARTS_PER_ROW)
            tiles.append(_tile(column * width, top + row * HEIGHT, width, HEIGHT, _widget(chart)))
        top += HEIGHT * -(-len(charts) // CHARTS_PER_ROW)
    return {"displayName": name, "mosaicLayout": {"columns": COLUMNS, "tiles": tiles}}


def _tile(x: int, y: int, width: int, height: int, widget: Json) -> Json:
    at = {"xPos": x, "yPos": y}  # Google leaves zeros out, which would be a difference at each plan
    return {**{axis: value for axis, value in at.items() if value}, "width": width, "height": height, "widget": widget}


def _widget(chart: Chart) -> Json:
    unit = {"unitOverride": chart.unit} if chart.unit else {}
    sets = [
        {
            "plotType": "LINE",
            "targetAxis": "Y1",
            "legendTemplate": line.legend,
            "timeSeriesQuery": {"prometheusQuery": line.query, **unit},
        }
        for line in chart.lines
    ]
    return {"title": chart.title, "xyChart": {"dataSets": sets, "yAxis": {"scale": "LINEAR"}}}


def _rate(counter: str, *by: str, name: str = "") -> Line:
    return Line(f"sum by ({', '.join(by)}) (rate({counter}[5m]))", by, name)


def _count(counter: str, *by: str) -> Line:
    return Line(f"sum by ({', '.join(by)}) (increase({counter}[5m]))", by)


def _most(gauge: str, *by: str, name: str = "") -> Line:
    return Line(f"max by ({', '.join(by)}) ({gauge})", by, name)


def _sum(gauge: str, *by: str, name: str = "") -> Line:
    return Line(f"sum by ({', '.join(by)}) ({gauge})", by, name)


def _slowest(histogram: str, by: str) -> Line:
    return Line(f"histogram_quantile(0.99, sum by (le, {by}) (rate({histogram}_bucket[5m])))", (by,))


def _share(part: str, whole: str, by: str) -> Line:
    return Line(f"{_rate(part, by).query} / {_rate(whole, by).query}", (by,))


_VALKEY = "memorystore_googleapis_com:instance"
_PODS = 'kubernetes_io:container_cpu_core_usage_time{monitored_resource="k8s_container", namespace_name="apx"}'
_OUT = 'loadbalancing_googleapis_com:https_response_bytes_count{monitored_resource="https_lb_rule"}'

SECTIONS: dict[str, tuple[Chart, ...]] = {
    "What clients see": (
        Chart("Answers", (_rate("apx_responses_total", "product"),), "1/s"),
        Chart(
            "5xx, of all answers",
            (_share('apx_responses_total{status_class="5xx"}', "apx_responses_total", "product"),),
        ),
        Chart("Refused", (_rate('apx_admissions_total{outcome="refused"}', "code"),), "1/s"),
        Chart("Durable within (p99)", (_slowest("apx_accept_duration_seconds", "product"),), "s"),
        Chart("Backends answer within (p99)", (_slowest("apx_backend_duration_seconds", "product"),), "s"),
        Chart("Event loops are late by", (_most("apx_event_loop_lag_seconds", "job"),), "s"),
        Chart("Connections held", (_sum("apx_streams_open", "kind"),)),
        Chart("Turned away", (_rate("apx_shed_total", "product", "priority"),), "1/s"),
        Chart(
            "Work, and its limit",
            (
                _most("apx_work_under_way_requests", "location", name="under way"),
                Line("min by (location) (apx_work_limit_requests)", ("location",), "limit"),
            ),
        ),
    ),
    "Lanes": (
        Chart("Wait or run", (_most("apx_lanes_waiting_requests", "product"),)),
        Chart(
            "In and out",
            (
                _rate('apx_accepts_total{outcome="accepted"}', "product", name="accepted"),
                _rate("apx_worker_results_total", "product", name="ended"),
            ),
            "1/s",
        ),
        Chart("Held by workers", (_sum("apx_worker_in_flight", "product"),)),
        Chart("Tried again", (_rate("apx_worker_retries_total", "product", "cause"),), "1/s"),
        Chart("Given up", (_count("apx_worker_dead_letters_total", "product", "reason"),)),
        Chart("Passed to another worker", (_count("apx_worker_leases_lost_total", "product"),)),
    ),
    "Rollouts": (
        Chart("Weight", (_most("apx_rollout_weight_percent", "product"),), "%"),
        Chart("Verdicts", (_count("apx_judge_verdicts_total", "product", "outcome"),)),
        Chart("Movements", (_count("apx_rollout_movements_total", "product", "event"),)),
        Chart("Releases refused", (_count('apx_release_loads_total{outcome="refused"}', "product", "reason"),)),
        Chart("Policies that fail", (_count("apx_decision_failures_total", "product", "reason"),)),
        Chart("Monitors that lead", (_sum("apx_monitor_leads", "location"),)),
    ),
    "Stores": (
        Chart("Since the last word of what is live", (_most("apx_rollout_store_age_seconds", "location", "job"),), "s"),
        Chart(
            "Writes that failed",
            (
                _rate("apx_publish_failures_total", "cause", name="publish"),
                _rate("apx_worker_settle_failures_total", "location", name="settle"),
                _rate("apx_counts_dropped_total", "cause", name="counts"),
            ),
            "1/s",
        ),
        Chart(
            "Oldest message in Pub/Sub",
            (_most("pubsub_googleapis_com:subscription_oldest_unacked_message_age", "subscription_id"),),
            "s",
        ),
        Chart(
            "Valkey, how full",
            (
                _most(f"{_VALKEY}_memory_maximum_utilization", "instance_id", name="memory"),
                _most(f"{_VALKEY}_cpu_maximum_utilization", "instance_id", name="CPU"),
            ),
        ),
        Chart("Valkey, clients", (_most(f"{_VALKEY}_clients_total_connected_clients", "instance_id"),)),
        Chart(
            "Firestore",
            (
                _rate("firestore_googleapis_com:document_read_ops_count", "database_id", name="read"),
                _rate("firestore_googleapis_com:document_write_ops_count", "database_id", name="written"),
            ),
            "1/s",
        ),
    ),
    "What costs": (
        Chart("Cores in use", (_rate(_PODS, "container_name"),)),
        Chart("Calls to backends", (_rate("apx_worker_attempts_total", "product"),), "1/s"),
        Chart("Bytes to clients", (_rate(_OUT, "backend_target_name"),), "By/s"),
        Chart("Bytes to backends", (_rate("router_googleapis_com:nat_sent_bytes_count", "gateway_name"),), "By/s"),
        Chart("Bytes of logs", (_rate("logging_googleapis_com:billing_bytes_ingested", "resource_type"),), "By/s"),
        Chart("Bytes of Pub/Sub", (_rate("pubsub_googleapis_com:topic_byte_cost", "topic_id"),), "By/s"),
    ),
}
