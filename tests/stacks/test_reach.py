"""Who may reach whom in the clusters, whatever is added to the workloads."""

from __future__ import annotations

import json
from ipaddress import IPv4Network

from tests.stacks.plans import Plan
from tests.stacks.pods import labels_of, manifests, pod_labels, pods, rules

PRIVATE = [IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")]
METADATA_SERVER = "169.254.169.254/32"


def test_all_is_denied_that_is_not_allowed(plan: Plan) -> None:
    denied = [one for one in plan.resources("kubernetes_network_policy_v1") if not labels_of(one.body["spec"])]
    without_rules = {
        one.stack
        for one in denied
        if one.body["spec"]["policy_types"] == ["Ingress", "Egress"]
        and one.body["spec"].keys().isdisjoint({"ingress", "egress"})
    }
    assert without_rules == {one.stack for one in plan.resources("kubernetes_namespace_v1")}


def test_of_what_is_private_pods_reach_valkey_and_the_metadata_server_alone(plan: Plan) -> None:
    for one, rule in rules(plan, "egress"):
        ports = {port.get("port") for port in rule["ports"]}
        for block in (to["ip_block"] for to in rule["to"] if "ip_block" in to):
            if block["cidr"] == "0.0.0.0/0":
                excepted = [IPv4Network(cidr) for cidr in block["except"]]
                assert all(any(net.subnet_of(cidr) for cidr in excepted) for net in PRIVATE), one.address
            elif block["cidr"] == METADATA_SERVER:
                assert ports <= {"53", "80", "8080"}, one.address
            else:
                assert ports in ({"6379"}, {"53"}), one.address


def test_only_load_balancers_reach_what_they_serve_and_nobody_reaches_more(plan: Plan) -> None:
    load_balancers = {"130.211.0.0/22", "35.191.0.0/16"}
    reached = set()
    for one, rule in rules(plan, "ingress"):
        cidrs = {source["ip_block"]["cidr"] for source in rule["from"] if "ip_block" in source}
        assert cidrs in (set(), load_balancers), one.address
        if cidrs:
            reached |= {(one.body["metadata"]["name"], port["port"]) for port in rule["ports"]}
    assert reached == {("edge", "8080"), ("control", "8081")}


def test_only_who_calls_backends_reaches_other_ports_than_https(plan: Plan) -> None:
    anywhere = {
        one.body["metadata"]["name"]
        for one, rule in rules(plan, "egress")
        if any(to.get("ip_block", {}).get("cidr") == "0.0.0.0/0" for to in rule["to"])
        and {port.get("port") for port in rule["ports"]} != {"443"}
    }
    assert anywhere == {"edge", "worker"}


def test_every_metric_port_is_scraped(plan: Plan) -> None:
    for one, pod in pods(plan):
        ports = {port["name"] for container in pod["container"] for port in container["port"]}
        (scraped,) = (
            manifest
            for manifest in manifests(plan, "PodMonitoring", one.stack)
            if manifest["spec"]["selector"]["matchLabels"] == pod_labels(one)
        )
        named = {endpoint["port"] for endpoint in scraped["spec"]["endpoints"]}
        assert named == ports - ({"http"} if one.body["metadata"]["name"] == "edge" else set()), one.address


def test_services_lead_to_pods_by_their_network_endpoint_groups(plan: Plan) -> None:
    there = {(one.stack, *pod_labels(one).items()) for one, _ in pods(plan)}
    for one in plan.resources("kubernetes_service_v1"):
        groups = json.loads(one.body["metadata"]["annotations"]["cloud.google.com/neg"])["exposed_ports"]
        (port,) = one.body["spec"]["port"]
        assert groups == {str(port["port"]): {"name": f"apx-{one.body['metadata']['name']}"}}
        assert (one.stack, *one.body["spec"]["selector"].items()) in there
