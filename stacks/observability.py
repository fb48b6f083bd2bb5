"""What is seen: objectives, alerts with their runbooks, the dashboard, a look from outside, logs that stay."""

from __future__ import annotations

import json

from cdktf_cdktf_provider_google.monitoring_dashboard import MonitoringDashboard
from cdktf_cdktf_provider_google.monitoring_uptime_check_config import (
    MonitoringUptimeCheckConfig,
    MonitoringUptimeCheckConfigContentMatchers,
    MonitoringUptimeCheckConfigContentMatchersJsonPathMatcher,
    MonitoringUptimeCheckConfigHttpCheck,
    MonitoringUptimeCheckConfigMonitoredResource,
)
from constructs import Construct

from stacks.alerting import Alerting
from stacks.alerts import alerts
from stacks.dashboard import dashboard
from stacks.edge import Edge
from stacks.environment import Environment
from stacks.logs import logs
from stacks.objectives import objectives
from stacks.stack import ApxStack


class Observability(ApxStack):
    """The last stack: it looks at all others."""

    def __init__(self, scope: Construct, environment: Environment, edge: Edge) -> None:
        super().__init__(scope, environment, "observability")
        self.add_dependency(edge)  # there is nothing to probe before
        alerting = Alerting(self, environment)
        objectives(self, alerting)
        logs(self, environment)
        for alert in alerts(edge.domains["edge"]):
            alerting.on_query(alert)
        self._probe(edge.domains["edge"])
        MonitoringDashboard(
            self,
            "dashboard",
            dashboard_json=json.dumps(dashboard(f"APX {environment.name}")),
        )

    def _probe(self, host: str) -> None:
        """Ask from outside, each minute, what clients would: name, certificate, load balancer, edge, router."""
        MonitoringUptimeCheckConfig(
            self,
            "edge",
            display_name=f"APX {self.environment.name}: the edge",
            period="60s",
            timeout="10s",
            http_check=MonitoringUptimeCheckConfigHttpCheck(
                path="/healthz", port=443, use_ssl=True, validate_ssl=True, request_method="GET"
            ),
            monitored_resource=MonitoringUptimeCheckConfigMonitoredResource(
                type="uptime_url", labels={"project_id": self.environment.project, "host": host}
            ),
            content_matchers=[
                MonitoringUptimeCheckConfigContentMatchers(
                    content='"ok"',
                    matcher="MATCHES_JSON_PATH",
                    json_path_matcher=MonitoringUptimeCheckConfigContentMatchersJsonPathMatcher(
                        json_path="$.status", json_matcher="EXACT_MATCH"
                    ),
                )
            ],
        )
