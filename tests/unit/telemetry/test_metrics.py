import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from apx.telemetry import metrics

DOCS = Path(__file__).parents[3] / "docs" / "telemetry.md"
UNITS = (
    "_total",
    "_seconds",
    "_bytes",
    "_info",
    "_envelopes",
    "_requests",
    "_open",
    "_in_flight",
    "_percent",
    "_leads",
)


@pytest.mark.parametrize("metric", metrics.CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_has_the_prefix_a_unit_and_a_meaning(metric: metrics.Metric) -> None:
    assert re.fullmatch(r"apx_[a-z_]+", metric.name)
    assert metric.name.endswith(UNITS)
    assert metric.meaning.endswith(".")


@pytest.mark.parametrize("metric", metrics.CATALOGUE, ids=lambda metric: metric.name)
def test_a_counter_and_only_a_counter_ends_in_total(metric: metrics.Metric) -> None:
    assert (metric.kind == "counter") == metric.name.endswith("_total")


@pytest.mark.parametrize("metric", metrics.CATALOGUE, ids=lambda metric: metric.name)
def test_no_label_names_a_tenant_or_a_request(metric: metrics.Metric) -> None:
    assert not {"org", "key", "key_id", "id", "request_id", "lane", "path", "traceparent"} & set(metric.label_names)


def test_names_are_declared_once() -> None:
    names = [metric.name for metric in metrics.CATALOGUE]
    assert len(names) == len(set(names))


def test_every_declared_metric_is_exposed() -> None:
    shown = generate_latest(metrics.REGISTRY).decode()
    silent = [m.name for m in metrics.CATALOGUE if f"# TYPE {m.name}" not in shown]
    assert silent == []


def test_the_table_in_the_docs_is_current() -> None:
    _, _, rest = DOCS.read_text("utf-8").partition("<!-- metrics -->\n")
    table, end, _ = rest.partition("<!-- /metrics -->")
    assert end
    assert table == metrics.table(), "put the output of `python -m apx.telemetry.metrics` into docs/telemetry.md"


@pytest.mark.parametrize(
    ("status", "expected"), [(200, "2xx"), (404, "4xx"), (599, "5xx"), (None, "none"), (0, "none"), (700, "none")]
)
def test_a_status_has_a_class(status: int | None, expected: str) -> None:
    assert metrics.status_class(status) == expected
