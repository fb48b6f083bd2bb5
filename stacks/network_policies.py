"""Who may speak to whom in the clusters: nobody, but for what stands here."""

from __future__ import annotations

from collections.abc import Sequence

import cdktf_cdktf_provider_kubernetes.network_policy_v1 as k8s
from cdktf_cdktf_provider_kubernetes.network_policy_v1 import NetworkPolicyV1SpecEgress as Egress
from cdktf_cdktf_provider_kubernetes.network_policy_v1 import NetworkPolicyV1SpecIngress as Ingress

from apx.catalog.addresses import NOT_PUBLIC_4
from stacks.environment import Region
from stacks.namespace import NamespaceStack
from stacks.network import LOAD_BALANCERS
from stacks.pods import Pod

VALKEY_PORT = 6379
HTTPS_PORT, DNS_PORT = 443, 53
METADATA_SERVER, METADATA_PORTS = "169.254.169.254/32", (80, 8080)
"""What Workload Identity needs on Dataplane V2. (988 and 987 of 169.254.169.252 are the older dataplane's.)
https://cloud.google.com/kubernetes-engine/docs/how-to/network-policy#network-policy-and-workload-identity"""
RESOLVERS = ("169.254.20.10/32", METADATA_SERVER)
"""NodeLocal DNSCache, and Cloud DNS, which pods reach at the metadata server's address: neither is a pod."""
COLLECTORS = ("gmp-system", "gke-gmp-system")
"""Where managed Prometheus runs, in mode standard and in Autopilot."""
NAMESPACE_NAME = "kubernetes.io/metadata.name"
BEHIND_LOAD_BALANCERS = ("edge", "control")
CALLS_BACKENDS = ("edge", "worker")
"""Whose business is to call what products name; the guard of the client judges each address before (`apx/catalog`)."""


def network_policies(stack: NamespaceStack, region: Region, pods: Sequence[Pod]) -> list[k8s.NetworkPolicyV1]:
    """Deny all both ways, then let all reach what all need, and each what it is for."""
    everybody = [_names(), _to([METADATA_SERVER], *METADATA_PORTS), _to([str(region.nodes)], VALKEY_PORT)]
    return [
        _policy(stack, "default-deny", {}, ingress=[], egress=[]),
        _policy(stack, "everybody", {}, egress=[*everybody, _public(HTTPS_PORT)]),
        *(_policy(stack, pod.name, pod.labels, ingress=_ingress(pod), egress=_egress(pod)) for pod in pods),
    ]


def _policy(
    stack: NamespaceStack,
    name: str,
    labels: dict[str, str],
    *,
    ingress: list[Ingress] | None = None,
    egress: list[Egress] | None = None,
) -> k8s.NetworkPolicyV1:
    """Select pods; a direction that is None is left to the other policies."""
    kinds = [kind for kind, rules in (("Ingress", ingress), ("Egress", egress)) if rules is not None]
    return k8s.NetworkPolicyV1(
        stack,
        f"policy-{name}",
        metadata=k8s.NetworkPolicyV1Metadata(name=name, namespace=stack.namespace),
        spec=k8s.NetworkPolicyV1Spec(
            pod_selector=k8s.NetworkPolicyV1SpecPodSelector(match_labels=labels),
            policy_types=kinds,
            ingress=ingress or None,
            egress=egress or None,
        ),
    )


def _egress(pod: Pod) -> list[Egress] | None:
    return [_public()] if pod.name in CALLS_BACKENDS else None


def _ingress(pod: Pod) -> list[Ingress]:
    """Let Google's load balancers and health checks reach the port for them, and collectors those for metrics."""
    measured = [str(process.port) for process in pod.processes if process.metrics]
    collectors = k8s.NetworkPolicyV1SpecIngressFrom(
        namespace_selector=k8s.NetworkPolicyV1SpecIngressFromNamespaceSelector(
            match_expressions=[
                k8s.NetworkPolicyV1SpecIngressFromNamespaceSelectorMatchExpressions(
                    key=NAMESPACE_NAME, operator="In", values=list(COLLECTORS)
                )
            ]
        )
    )
    rules = [Ingress(from_=[collectors], ports=_from_ports(measured))]
    if pod.name in BEHIND_LOAD_BALANCERS:
        served = [str(process.port) for process in pod.processes if process.port_name == "http"]
        blocks = [k8s.NetworkPolicyV1SpecIngressFromIpBlock(cidr=cidr) for cidr in LOAD_BALANCERS]
        sources = [k8s.NetworkPolicyV1SpecIngressFrom(ip_block=block) for block in blocks]
        rules.append(Ingress(from_=sources, ports=_from_ports(served)))
    return rules


def _from_ports(ports: Sequence[str]) -> list[k8s.NetworkPolicyV1SpecIngressPorts]:
    return [k8s.NetworkPolicyV1SpecIngressPorts(port=port, protocol="TCP") for port in ports]


def _names() -> Egress:
    """Let names be looked up, by whichever of GKE's resolvers the cluster has."""
    resolver = k8s.NetworkPolicyV1SpecEgressTo(
        namespace_selector=k8s.NetworkPolicyV1SpecEgressToNamespaceSelector(
            match_labels={NAMESPACE_NAME: "kube-system"}
        ),
        pod_selector=k8s.NetworkPolicyV1SpecEgressToPodSelector(
            match_expressions=[
                k8s.NetworkPolicyV1SpecEgressToPodSelectorMatchExpressions(
                    key="k8s-app", operator="In", values=["kube-dns", "node-local-dns"]
                )
            ]
        ),
    )
    ports = [k8s.NetworkPolicyV1SpecEgressPorts(port=str(DNS_PORT), protocol=protocol) for protocol in ("UDP", "TCP")]
    return Egress(to=[resolver, *(_block(cidr) for cidr in RESOLVERS)], ports=ports)


def _to(cidrs: Sequence[str], *ports: int) -> Egress:
    return Egress(
        to=[_block(cidr) for cidr in cidrs],
        ports=[k8s.NetworkPolicyV1SpecEgressPorts(port=str(port), protocol="TCP") for port in ports],
    )


def _public(*ports: int) -> Egress:
    """Let the internet be reached by TCP, Google's APIs among it, and nothing that is somebody's own."""
    block = k8s.NetworkPolicyV1SpecEgressToIpBlock(cidr="0.0.0.0/0", except_=[str(one) for one in NOT_PUBLIC_4])
    wanted = [k8s.NetworkPolicyV1SpecEgressPorts(port=str(port), protocol="TCP") for port in ports]
    return Egress(
        to=[k8s.NetworkPolicyV1SpecEgressTo(ip_block=block)],
        ports=wanted or [k8s.NetworkPolicyV1SpecEgressPorts(protocol="TCP")],
    )


def _block(cidr: str) -> k8s.NetworkPolicyV1SpecEgressTo:
    return k8s.NetworkPolicyV1SpecEgressTo(ip_block=k8s.NetworkPolicyV1SpecEgressToIpBlock(cidr=cidr))
