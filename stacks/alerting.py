"""How an alert reaches somebody: a policy of Cloud Monitoring that mails a sentence and the address of a runbook."""

from __future__ import annotations

from collections.abc import Sequence

from cdktf import TerraformStack
from cdktf_cdktf_provider_google.monitoring_alert_policy import (
    MonitoringAlertPolicy,
    MonitoringAlertPolicyAlertStrategy,
    MonitoringAlertPolicyConditions,
    MonitoringAlertPolicyConditionsConditionPrometheusQueryLanguage,
    MonitoringAlertPolicyDocumentation,
    MonitoringAlertPolicyDocumentationLinks,
)
from cdktf_cdktf_provider_google.monitoring_notification_channel import MonitoringNotificationChannel

from stacks.alerts import Alert, Severity
from stacks.environment import Environment

AUTO_CLOSE_S = 86_400
"""Without data an incident stays open for a day: what is broken often stops to report."""


class Alerting:
    """Makes policies that all mail the environment's addresses."""

    def __init__(self, stack: TerraformStack, environment: Environment) -> None:
        self._stack = stack
        self._environment = environment
        self._channels = [self._channel(at, email) for at, email in enumerate(environment.alert_emails)]

    def on_query(self, alert: Alert) -> None:
        """Call somebody while a query gives an answer."""
        condition = MonitoringAlertPolicyConditions(
            display_name=alert.title,
            condition_prometheus_query_language=MonitoringAlertPolicyConditionsConditionPrometheusQueryLanguage(
                query=alert.query,
                duration=f"{alert.for_s}s",
                evaluation_interval="60s",
                disable_metric_validation=True,  # what never happened yet has no metric yet
            ),
        )
        self.policy(
            alert.name,
            title=alert.title,
            means=alert.means,
            severity=alert.severity,
            runbook=alert.runbook,
            conditions=[condition],
        )

    def policy(
        self,
        name: str,
        *,
        title: str,
        means: str,
        severity: Severity,
        runbook: str,
        conditions: Sequence[MonitoringAlertPolicyConditions],
    ) -> None:
        """Call somebody when all conditions hold at once."""
        file = f"docs/runbooks/{runbook}.md"
        address = f"https://github.com/{self._environment.github_repository}/blob/main/{file}"
        MonitoringAlertPolicy(
            self._stack,
            f"alert-{name}",
            display_name=f"APX {self._environment.name}: {title}",
            combiner="AND",
            conditions=list(conditions),
            notification_channels=[channel.id for channel in self._channels],
            severity=severity,
            documentation=MonitoringAlertPolicyDocumentation(
                subject=f"[{severity}] APX {self._environment.name}: {title}",
                content=f"{means}\n\nWhat to do: [{file}]({address})",
                mime_type="text/markdown",
                links=[MonitoringAlertPolicyDocumentationLinks(display_name="Runbook", url=address)],
            ),
            alert_strategy=MonitoringAlertPolicyAlertStrategy(auto_close=f"{AUTO_CLOSE_S}s"),
            user_labels={"app": "apx", "environment": self._environment.name, "runbook": runbook},
        )

    def _channel(self, at: int, email: str) -> MonitoringNotificationChannel:
        return MonitoringNotificationChannel(
            self._stack,
            f"channel-{at}",
            display_name=f"APX {self._environment.name}: {email}",
            type="email",
            labels={"email_address": email},
        )
