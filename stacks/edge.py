"""The way in: one address for the world, TLS, Cloud Armor, and the two services behind it."""

from __future__ import annotations

from cdktf import TerraformOutput, Token
from cdktf_cdktf_provider_google.certificate_manager_certificate import (
    CertificateManagerCertificate,
    CertificateManagerCertificateManaged,
)
from cdktf_cdktf_provider_google.certificate_manager_certificate_map import CertificateManagerCertificateMap
from cdktf_cdktf_provider_google.certificate_manager_certificate_map_entry import CertificateManagerCertificateMapEntry
from cdktf_cdktf_provider_google.certificate_manager_dns_authorization import CertificateManagerDnsAuthorization
from cdktf_cdktf_provider_google.compute_backend_service import (
    ComputeBackendService,
    ComputeBackendServiceBackend,
    ComputeBackendServiceIap,
    ComputeBackendServiceLogConfig,
)
from cdktf_cdktf_provider_google.compute_global_address import ComputeGlobalAddress
from cdktf_cdktf_provider_google.compute_global_forwarding_rule import ComputeGlobalForwardingRule
from cdktf_cdktf_provider_google.compute_health_check import ComputeHealthCheck, ComputeHealthCheckHttpHealthCheck
from cdktf_cdktf_provider_google.compute_ssl_policy import ComputeSslPolicy
from cdktf_cdktf_provider_google.compute_target_http_proxy import ComputeTargetHttpProxy
from cdktf_cdktf_provider_google.compute_target_https_proxy import ComputeTargetHttpsProxy
from cdktf_cdktf_provider_google.compute_url_map import (
    ComputeUrlMap,
    ComputeUrlMapDefaultUrlRedirect,
    ComputeUrlMapHostRule,
    ComputeUrlMapPathMatcher,
    ComputeUrlMapTest,
)
from cdktf_cdktf_provider_google.data_google_compute_network_endpoint_group import DataGoogleComputeNetworkEndpointGroup
from cdktf_cdktf_provider_google.data_google_project import DataGoogleProject
from cdktf_cdktf_provider_google.iap_web_backend_service_iam_member import IapWebBackendServiceIamMember
from constructs import Construct

from stacks.armor import control_policy, edge_policy
from stacks.environment import Environment
from stacks.identity import Identity
from stacks.network import CONTROL_PORT, EDGE_PORT, Network
from stacks.stack import ApxStack

EDGE_NEG, CONTROL_NEG = "apx-edge", "apx-control"
"""What the annotation `cloud.google.com/neg` of the two Services names; GKE makes one group of that name per zone."""

EDGE_TIMEOUT_S = 3_600
"""From a request's first byte to its answer's last: the longest that plans allow a route. The edge has shorter limits
for everything else, and its answer is a problem that says why. An event stream is cut here; its client comes again."""
CONTROL_TIMEOUT_S = 120
"""Cuts the stream of rollout events every two minutes: a client comes again with Last-Event-ID and misses nothing."""
DRAIN_S = 60
EDGE_RATE, CONTROL_RATE = 1_000, 50
"""Requests a second of one pod before the next region is asked too; nothing is refused above it."""
STRICT_TRANSPORT = "Strict-Transport-Security: max-age=31536000"


class Edge(ApxStack):
    """The `address`, the `domains` and the backend services `edge` and `control`.

    The groups of endpoints are there once the workloads are: until then the plan fails and names the missing one.
    """

    def __init__(self, scope: Construct, environment: Environment, identity: Identity, network: Network) -> None:
        super().__init__(scope, environment, "edge")
        self._promoter = identity.accounts["promoter"].member
        self.add_dependency(network)  # the firewall's rule for health checks
        self.domains = {"edge": environment.domain, "control": f"control.{environment.domain}"}
        self.edge = self._edge()
        self.control = self._control()
        self.address = ComputeGlobalAddress(self, "address", name=self._named(), address_type="EXTERNAL")
        self._authorizations = {name: self._authorization(name) for name in self.domains}
        self._https()
        self._http()
        self._say()

    def _named(self, what: str = "") -> str:
        return f"apx-{self.environment.name}-{what}".rstrip("-")

    def _edge(self) -> ComputeBackendService:
        return self._service(
            "edge",
            EDGE_PORT,
            edge_policy(self, self.environment).id,
            self._backends(EDGE_NEG, EDGE_RATE),
            timeout_s=EDGE_TIMEOUT_S,
            logged=0.01,  # a sample shows the load balancer's part; every error is in the edge's own log
        )

    def _control(self) -> ComputeBackendService:
        service = self._service(
            "control",
            CONTROL_PORT,
            control_policy(self, self.environment).id,
            self._backends(CONTROL_NEG, CONTROL_RATE),
            timeout_s=CONTROL_TIMEOUT_S,
            logged=1.0,
            iap=ComputeBackendServiceIap(enabled=True),
        )
        people = {f"operator-{at}": member for at, member in enumerate(self.environment.operators)}
        for name, member in {**people, "promoter": self._promoter}.items():
            IapWebBackendServiceIamMember(
                self,
                name,
                web_backend_service=service.name,
                role="roles/iap.httpsResourceAccessor",
                member=member,
            )
        return service

    def _service(
        self,
        name: str,
        port: int,
        policy: str,
        backends: list[ComputeBackendServiceBackend],
        *,
        timeout_s: int,
        logged: float,
        iap: ComputeBackendServiceIap | None = None,
    ) -> ComputeBackendService:
        return ComputeBackendService(
            self,
            name,
            name=self._named(name),
            protocol="HTTP",
            load_balancing_scheme="EXTERNAL_MANAGED",
            timeout_sec=timeout_s,
            connection_draining_timeout_sec=DRAIN_S,
            enable_cdn=False,
            custom_response_headers=[STRICT_TRANSPORT],
            security_policy=policy,
            health_checks=[self._health(name, port).id],
            backend=backends,
            log_config=ComputeBackendServiceLogConfig(enable=True, sample_rate=logged),
            iap=iap,
        )

    def _backends(self, neg: str, rate: int) -> list[ComputeBackendServiceBackend]:
        groups = [
            DataGoogleComputeNetworkEndpointGroup(self, f"{neg}-{zone}", name=neg, zone=zone)
            for region in self.environment.regions
            for zone in region.zone_names
        ]
        return [
            ComputeBackendServiceBackend(group=group.self_link, balancing_mode="RATE", max_rate_per_endpoint=rate)
            for group in groups
        ]

    def _health(self, name: str, port: int) -> ComputeHealthCheck:
        """Ask the port that serves, in the way that clients take: for the edge, through Envoy to the router."""
        return ComputeHealthCheck(
            self,
            f"health-{name}",
            name=self._named(name),
            check_interval_sec=5,
            timeout_sec=3,
            healthy_threshold=1,
            unhealthy_threshold=3,
            http_health_check=ComputeHealthCheckHttpHealthCheck(
                port_specification="USE_FIXED_PORT", port=port, request_path="/healthz"
            ),
        )

    def _authorization(self, name: str) -> CertificateManagerDnsAuthorization:
        return CertificateManagerDnsAuthorization(
            self, f"dns-{name}", name=self._named(name), domain=self.domains[name]
        )

    def _certificate_map(self) -> str:
        certificate = CertificateManagerCertificate(
            self,
            "certificate",
            name=self._named(),
            managed=CertificateManagerCertificateManaged(
                domains=list(self.domains.values()),
                dns_authorizations=[one.id for one in self._authorizations.values()],
            ),
        )
        certificates = CertificateManagerCertificateMap(self, "certificates", name=self._named())
        for name, domain in self.domains.items():
            CertificateManagerCertificateMapEntry(
                self,
                f"certificates-{name}",
                name=self._named(name),
                map=certificates.name,
                hostname=domain,
                certificates=[certificate.id],
            )
        return f"//certificatemanager.googleapis.com/{certificates.id}"

    def _https(self) -> None:
        policy = ComputeSslPolicy(self, "tls", name=self._named(), profile="MODERN", min_tls_version="TLS_1_2")
        proxy = ComputeTargetHttpsProxy(
            self,
            "https",
            name=self._named("https"),
            url_map=self._routes().id,
            certificate_map=self._certificate_map(),
            ssl_policy=policy.id,
            quic_override="ENABLE",
            tls_early_data="DISABLED",  # what comes early can be played again by anyone who saw it
        )
        self._listen("https", proxy.id, 443)

    def _routes(self) -> ComputeUrlMap:
        """Send the control API's host to it, everything else to the edge. Google tries the tests before it changes."""
        hosts = {self.domains["control"]: self.control, self.domains["edge"]: self.edge, "else.example": self.edge}
        return ComputeUrlMap(
            self,
            "routes",
            name=self._named(),
            default_service=self.edge.id,
            host_rule=[ComputeUrlMapHostRule(hosts=[self.domains["control"]], path_matcher="control")],
            path_matcher=[ComputeUrlMapPathMatcher(name="control", default_service=self.control.id)],
            test=[ComputeUrlMapTest(host=host, path="/", service=service.id) for host, service in hosts.items()],
        )

    def _http(self) -> None:
        """Answer plain HTTP with where to go; 308 keeps the method."""
        redirect = ComputeUrlMap(
            self,
            "to-https",
            name=self._named("to-https"),
            default_url_redirect=ComputeUrlMapDefaultUrlRedirect(
                https_redirect=True, strip_query=False, redirect_response_code="PERMANENT_REDIRECT"
            ),
        )
        proxy = ComputeTargetHttpProxy(self, "http", name=self._named("http"), url_map=redirect.id)
        self._listen("http", proxy.id, 80)

    def _listen(self, name: str, target: str, port: int) -> None:
        ComputeGlobalForwardingRule(
            self,
            f"listen-{name}",
            name=self._named(name),
            target=target,
            ip_address=self.address.id,
            port_range=str(port),
            load_balancing_scheme="EXTERNAL_MANAGED",
        )

    def _say(self) -> None:
        """Print what must be known elsewhere: the DNS records to make, and whom the proxy's assertions are for."""
        TerraformOutput(self, "address-record", value=dict.fromkeys(self.domains.values(), self.address.address))
        records = {
            one.dns_resource_record.get(0).name: one.dns_resource_record.get(0).data
            for one in self._authorizations.values()
        }
        TerraformOutput(
            self, "certificate-records", value=records, description="CNAMEs, before the certificate is made"
        )
        number = DataGoogleProject(self, "project", project_id=self.environment.project).number
        audience = f"/projects/{number}/global/backendServices/{Token.as_string(self.control.generated_id)}"
        TerraformOutput(self, "control-audience", value=audience, description="`aud` of x-goog-iap-jwt-assertion")
