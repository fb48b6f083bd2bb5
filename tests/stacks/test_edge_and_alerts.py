"""What must hold of the way in, and of what calls somebody, in every environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from apx.backends.gcp import names
from apx.telemetry.metrics import CATALOGUE
from tests.stacks.plans import ROOT, Body, Plan

BACKEND, POLICY, ALERT = (
    "google_compute_backend_service",
    "google_compute_security_policy",
    "google_monitoring_alert_policy",
)
LAST_RULE = 2_147_483_647
OUR_METRIC = re.compile(r"(?<![\w:])apx_\w+")
OUR_TARGET = re.compile(r'prometheus\.googleapis\.com/(\w+)/(counter|gauge|histogram)"')
LINES_METRIC = re.compile(r"logging_googleapis_com:user_(\w+)")
BURN = re.compile(r'select_slo_burn_rate\("(?P<slo>[^"]+)", "(?P<window>\w+)"\)')
HOURS = {"m": 1 / 60, "h": 1.0}


def test_tls_before_1_2_is_refused(plan: Plan) -> None:
    policies = {one.name: one.body for one in plan.resources("google_compute_ssl_policy")}
    proxies = plan.resources("google_compute_target_https_proxy")
    assert proxies
    for proxy in proxies:
        policy = policies[str(proxy.body["ssl_policy"]).split(".")[1]]
        assert (policy["min_tls_version"], policy["profile"]) == ("TLS_1_2", "MODERN"), proxy.address


def test_plain_http_serves_nothing(plan: Plan) -> None:
    maps = {one.name: one.body for one in plan.resources("google_compute_url_map")}
    for proxy in plan.resources("google_compute_target_http_proxy"):
        answers = maps[str(proxy.body["url_map"]).split(".")[1]]
        assert answers["default_url_redirect"]["https_redirect"] is True
        assert "default_service" not in answers


def test_no_backend_is_without_a_security_policy(plan: Plan) -> None:
    assert plan.resources(BACKEND)
    assert [one.address for one in plan.resources(BACKEND) if POLICY not in one.body.get("security_policy", "")] == []


def test_no_backend_is_cached(plan: Plan) -> None:
    assert [one.address for one in plan.resources(BACKEND) if one.body.get("enable_cdn") is not False] == []


def test_the_control_api_is_behind_the_proxy_that_asks_who_calls(plan: Plan) -> None:
    assert plan.resource("edge", BACKEND, "control")["iap"] == {"enabled": True}
    granted = plan.resources("google_iap_web_backend_service_iam_member")
    assert {one.body["role"] for one in granted} <= {"roles/iap.httpsResourceAccessor"}


def test_what_denies_comes_before_what_allows(plan: Plan) -> None:
    # The first rule that matches decides: a rate limit in front of the signatures would let everything past them.
    for policy in plan.resources(POLICY):
        rules = sorted(policy.body["rule"], key=lambda rule: rule["priority"])
        assert [rule["action"].partition("(")[0] for rule in rules][-2:] == ["rate_based_ban", "allow"], policy.address
        assert {rule["action"] for rule in rules[:-2]} <= {"deny(403)"}
        assert rules[-1]["priority"] == LAST_RULE


def test_rules_keep_to_the_limits_of_cloud_armor(plan: Plan) -> None:
    with_expressions = 0
    for policy in plan.resources(POLICY):
        for rule in policy.body["rule"]:
            expression = rule["match"].get("expr", {}).get("expression", "")
            with_expressions += bool(expression)
            assert expression.count("||") < 5
            assert len(rule["match"].get("config", {}).get("src_ip_ranges", [])) <= 10
            assert len(rule.get("description", "")) <= 64
    assert with_expressions <= 20


def test_the_control_api_watches_nothing_that_it_could_refuse(plan: Plan) -> None:
    rules = plan.resource("edge", POLICY, "armor-control")["rule"]
    assert [rule for rule in rules if rule.get("preview")] == []


def test_every_region_has_its_groups_of_endpoints(planned_regions: dict[str, Plan]) -> None:
    for plan in planned_regions.values():
        groups = plan.stacks["edge"]["data"]["google_compute_network_endpoint_group"]
        subnets = {one.body["region"] for one in plan.resources("google_compute_subnetwork")}
        for service in ("edge", "control"):
            used = [backend["group"] for backend in plan.resource("edge", BACKEND, service)["backend"]]
            mine = {name: group for name, group in groups.items() if group["name"] == f"apx-{service}"}
            assert {group["zone"].rpartition("-")[0] for group in mine.values()} == subnets
            assert sorted(used) == sorted(
                f"${{data.google_compute_network_endpoint_group.{n}.self_link}}" for n in mine
            )


def test_every_alert_calls_somebody_and_names_a_runbook_that_is_there(plan: Plan) -> None:
    assert plan.resources(ALERT)
    for alert in plan.resources(ALERT):
        assert alert.body["notification_channels"], alert.address
        files = re.findall(r"docs/runbooks/[\w-]+\.md", alert.body["documentation"]["content"])
        assert files, alert.address
        assert [file for file in files if not (ROOT / file).is_file()] == [], alert.address


def test_every_runbook_belongs_to_an_alert(prod: Plan) -> None:
    named = {str(alert.body["user_labels"]["runbook"]) for alert in prod.resources(ALERT)}
    there = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    assert there - named == set()


def test_links_between_runbooks_lead_somewhere() -> None:
    folder = ROOT / "docs" / "runbooks"
    broken = [
        f"{path.name}: {link}"
        for path in folder.glob("*.md")
        for link in re.findall(r"\]\(([\w./-]+\.md)\)", path.read_text())
        if not (folder / link).is_file()
    ]
    assert broken == []


def test_every_burn_rate_is_asked_over_a_long_window_and_a_short_one(plan: Plan) -> None:
    burning = [alert for alert in plan.resources(ALERT) if BURN.search(json.dumps(alert.body).replace('\\"', '"'))]
    slos = {one.name for one in plan.resources("google_monitoring_slo")}
    for alert in burning:
        long, short = (_burn(condition) for condition in alert.body["conditions"])
        assert alert.body["combiner"] == "AND"
        assert long["slo"] == short["slo"]
        assert len({condition["condition_threshold"]["threshold_value"] for condition in alert.body["conditions"]}) == 1
        assert 12 <= _hours(long["window"]) / _hours(short["window"]) <= 12.001, alert.address
        assert _hours(long["window"]) <= 24, "Cloud Monitoring looks back for a day at most"
    assert {str(_burn(one.body["conditions"][0])["slo"]).split(".")[1] for one in burning} == slos
    assert len(burning) == 3 * len(slos)


def test_every_metric_of_ours_that_is_asked_for_exists(plan: Plan) -> None:
    known = {
        name
        for metric in CATALOGUE
        for name in (
            [f"{metric.name}_bucket", f"{metric.name}_sum", f"{metric.name}_count"]
            if metric.kind == "histogram"
            else [metric.name]
        )
    }
    asked = {name for query in _queries(plan) for name in OUR_METRIC.findall(query)}
    assert asked
    assert asked - known == set()


def test_objectives_are_over_metrics_of_ours_of_the_right_kind(plan: Plan) -> None:
    kinds = {metric.name: metric.kind for metric in CATALOGUE}
    for slo in plan.resources("google_monitoring_slo"):
        targets = OUR_TARGET.findall(json.dumps(slo.body).replace('\\"', '"'))
        assert targets
        assert [kinds.get(name) for name, _ in targets] == [kind for _, kind in targets]


def test_what_reads_the_budgets_finds_the_objective_and_the_workers(plan: Plan) -> None:
    slo = plan.resource("observability", "google_monitoring_slo", "availability")
    assert (slo["slo_id"], slo["rolling_period_days"]) == (names.AVAILABILITY, 30)
    (service,) = plan.resources("google_monitoring_custom_service")
    assert service.body["service_id"] == names.SERVICE
    made = [one.body["manifest"] for one in plan.resources("kubernetes_manifest")]
    jobs = {one["metadata"]["name"] for one in made if one["kind"] == "PodMonitoring"}
    assert names.WORKERS in jobs


def test_the_limit_of_an_objective_is_a_bound_of_its_histogram(plan: Plan) -> None:
    cut = plan.resource("observability", "google_monitoring_slo", "accepting")["request_based_sli"]["distribution_cut"]
    (accepting,) = (metric for metric in CATALOGUE if metric.name == "apx_accept_duration_seconds")
    assert cut["range"]["max"] in accepting.buckets


def test_every_metric_of_log_lines_that_is_asked_for_is_made(plan: Plan) -> None:
    made = {str(one.body["name"]).replace("-", "_") for one in plan.resources("google_logging_metric")}
    assert {name for query in _queries(plan) for name in LINES_METRIC.findall(query)} == made


def test_the_dashboard_leaves_terraform_nothing_to_fill_in(plan: Plan) -> None:
    shown = plan.resource("observability", "google_monitoring_dashboard", "dashboard")["dashboard_json"]
    assert re.findall(r"(?<!\$)\$\{", shown) == []


def test_the_audit_log_is_kept_for_a_year_and_more(plan: Plan) -> None:
    bucket = plan.resource("observability", "google_logging_project_bucket_config", "audit")
    assert bucket["retention_days"] >= 400
    assert bucket["locked"] is (plan.environment != "dev")


def _queries(plan: Plan) -> Iterator[str]:
    for alert in plan.resources(ALERT):
        yield from (_query(condition) for condition in alert.body["conditions"])
    for board in plan.resources("google_monitoring_dashboard"):
        for tile in json.loads(board.body["dashboard_json"])["mosaicLayout"]["tiles"]:
            for line in tile["widget"].get("xyChart", {}).get("dataSets", []):
                yield line["timeSeriesQuery"]["prometheusQuery"]


def _query(condition: Body) -> str:
    return str(condition.get("condition_prometheus_query_language", {}).get("query", ""))


def _burn(condition: Body) -> dict[str, str]:
    found = BURN.search(condition["condition_threshold"]["filter"])
    assert found
    return found.groupdict()


def _hours(window: str) -> float:
    return float(window[:-1]) * HOURS[window[-1]]
