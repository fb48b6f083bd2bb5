"""The network: one VPC, a subnet for each region, no address of its own on any machine, nothing let in by default."""

from __future__ import annotations

from cdktf_cdktf_provider_google.compute_firewall import (
    ComputeFirewall,
    ComputeFirewallAllow,
    ComputeFirewallDeny,
    ComputeFirewallLogConfig,
)
from cdktf_cdktf_provider_google.compute_network import ComputeNetwork
from cdktf_cdktf_provider_google.compute_router import ComputeRouter
from cdktf_cdktf_provider_google.compute_router_nat import ComputeRouterNat, ComputeRouterNatLogConfig
from cdktf_cdktf_provider_google.compute_subnetwork import (
    ComputeSubnetwork,
    ComputeSubnetworkLogConfig,
    ComputeSubnetworkSecondaryIpRange,
)
from constructs import Construct

from stacks.environment import Environment, Region
from stacks.stack import ApxStack

PODS, SERVICES = "pods", "services"
LOAD_BALANCERS = ("130.211.0.0/22", "35.191.0.0/16")
"""Where Google's load balancers and health checks call from:
https://cloud.google.com/load-balancing/docs/firewall-rules"""
EDGE_PORT = 8080
CONTROL_PORT = 8081


class Network(ApxStack):
    """The VPC and its subnets; `subnets` by the region's name."""

    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(scope, environment, "network")
        self.network = ComputeNetwork(
            self,
            "vpc",
            name=f"apx-{environment.name}",
            auto_create_subnetworks=False,
            routing_mode="GLOBAL",
            delete_default_routes_on_create=False,
        )
        self.subnets = {region.name: self._subnet(region) for region in environment.regions}
        for region in environment.regions:
            self._way_out(region)
        self._firewall()

    def _subnet(self, region: Region) -> ComputeSubnetwork:
        return ComputeSubnetwork(
            self,
            f"subnet-{region.name}",
            name=f"apx-{region.name}",
            network=self.network.id,
            region=region.name,
            ip_cidr_range=str(region.nodes),
            private_ip_google_access=True,
            secondary_ip_range=[
                ComputeSubnetworkSecondaryIpRange(range_name=PODS, ip_cidr_range=str(region.pods)),
                ComputeSubnetworkSecondaryIpRange(range_name=SERVICES, ip_cidr_range=str(region.services)),
            ],
            log_config=ComputeSubnetworkLogConfig(
                aggregation_interval="INTERVAL_5_MIN", flow_sampling=0.1, metadata="INCLUDE_ALL_METADATA"
            ),
        )

    def _way_out(self, region: Region) -> None:
        """Let workers reach backends on the internet, without being reachable."""
        router = ComputeRouter(
            self, f"router-{region.name}", name=f"apx-{region.name}", network=self.network.id, region=region.name
        )
        ComputeRouterNat(
            self,
            f"nat-{region.name}",
            name=f"apx-{region.name}",
            router=router.name,
            region=region.name,
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
            enable_dynamic_port_allocation=True,
            min_ports_per_vm=64,
            max_ports_per_vm=4096,
            log_config=ComputeRouterNatLogConfig(enable=True, filter="ERRORS_ONLY"),
        )

    def _firewall(self) -> None:
        """Deny what is not allowed, aloud; allow the load balancers to reach the edge and the control API."""
        ComputeFirewall(
            self,
            "deny-ingress",
            name=f"apx-{self.environment.name}-deny-ingress",
            network=self.network.id,
            direction="INGRESS",
            priority=65_534,
            source_ranges=["0.0.0.0/0"],
            deny=[ComputeFirewallDeny(protocol="all")],
            log_config=ComputeFirewallLogConfig(metadata="INCLUDE_ALL_METADATA"),
        )
        ComputeFirewall(
            self,
            "allow-load-balancers",
            name=f"apx-{self.environment.name}-allow-load-balancers",
            network=self.network.id,
            direction="INGRESS",
            priority=1_000,
            source_ranges=list(LOAD_BALANCERS),
            allow=[ComputeFirewallAllow(protocol="tcp", ports=[str(EDGE_PORT), str(CONTROL_PORT)])],
            log_config=ComputeFirewallLogConfig(metadata="EXCLUDE_ALL_METADATA"),
        )
