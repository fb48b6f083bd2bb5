"""What is promised to clients, how it is measured, and who hears how fast the error budget goes."""

from __future__ import annotations

import msgspec
from cdktf import TerraformStack
from cdktf_cdktf_provider_google.monitoring_alert_policy import (
    MonitoringAlertPolicyConditions,
    MonitoringAlertPolicyConditionsConditionThreshold,
)
from cdktf_cdktf_provider_google.monitoring_custom_service import MonitoringCustomService
from cdktf_cdktf_provider_google.monitoring_slo import (
    MonitoringSlo,
    MonitoringSloRequestBasedSli,
    MonitoringSloRequestBasedSliDistributionCut,
    MonitoringSloRequestBasedSliDistributionCutRange,
    MonitoringSloRequestBasedSliGoodTotalRatio,
)

from apx.backends.gcp import names
from stacks.alerting import Alerting
from stacks.alerts import Severity

AVAILABILITY, FAST_ENOUGH = 0.999, 0.99
ACCEPT_S = 0.25
"""A bound of the buckets of `apx_accept_duration_seconds`: between two of them Google would guess."""
PERIOD_DAYS = 30
TARGET = 'resource.type="prometheus_target"'
ANSWERS = f'metric.type="prometheus.googleapis.com/apx_responses_total/counter" {TARGET}'
ACCEPTS = f'metric.type="prometheus.googleapis.com/apx_accept_duration_seconds/histogram" {TARGET}'


class Burn(msgspec.Struct, frozen=True):
    """How many times as fast as allowed the budget goes, over a long window, and still over a short one."""

    rate: float
    long: str
    short: str
    severity: Severity


BURNS = (Burn(14.4, "1h", "5m", "CRITICAL"), Burn(6, "6h", "30m", "CRITICAL"), Burn(3, "24h", "2h", "WARNING"))
"""2, 5 and 10 % of thirty days' budget (https://sre.google/workbook/alerting-on-slos/). Cloud Monitoring looks back for
24 hours at most, so the slowest pair is the workbook's three times over one day, not its once over three:
https://cloud.google.com/stackdriver/docs/solutions/slo-monitoring/alerting-on-budget-burn-rate#alert-lookbacks"""


def objectives(stack: TerraformStack, alerting: Alerting) -> None:
    """Make the service, its objectives and the alerts on their budgets.

    Google takes an objective over metrics that exist: the first request must have been answered before.
    """
    service = MonitoringCustomService(stack, "service", service_id=names.SERVICE, display_name="APX")
    availability = MonitoringSlo(
        stack,
        "availability",
        service=service.service_id,
        slo_id=names.AVAILABILITY,
        display_name=f"{AVAILABILITY:.1%} of the router's answers are not 5xx",
        goal=AVAILABILITY,
        rolling_period_days=PERIOD_DAYS,
        request_based_sli=MonitoringSloRequestBasedSli(
            good_total_ratio=MonitoringSloRequestBasedSliGoodTotalRatio(
                total_service_filter=ANSWERS, bad_service_filter=f'{ANSWERS} metric.labels.status_class="5xx"'
            )
        ),
    )
    accepting = MonitoringSlo(
        stack,
        "accepting",
        service=service.service_id,
        slo_id="accepting",
        display_name=f"{FAST_ENOUGH:.0%} of requests are durable within {ACCEPT_S * 1000:.0f} ms",
        goal=FAST_ENOUGH,
        rolling_period_days=PERIOD_DAYS,
        request_based_sli=MonitoringSloRequestBasedSli(
            distribution_cut=MonitoringSloRequestBasedSliDistributionCut(
                distribution_filter=ACCEPTS, range=MonitoringSloRequestBasedSliDistributionCutRange(max=ACCEPT_S)
            )
        ),
    )
    for burn in BURNS:
        _on_burn(alerting, burn, "availability", availability, "too-many-answers-are-errors")
        _on_burn(alerting, burn, "accepting", accepting, "accepting-is-slow")


def _on_burn(alerting: Alerting, burn: Burn, name: str, slo: MonitoringSlo, runbook: str) -> None:
    alerting.policy(
        f"{name}-burns-{burn.long}",
        title=f"The error budget of {name} goes {burn.rate:g} times too fast",
        means=f"So it was over the last {burn.long}, and so it still is over the last {burn.short}.",
        severity=burn.severity,
        runbook=runbook,
        conditions=[_faster(slo, burn.rate, window) for window in (burn.long, burn.short)],
    )


def _faster(slo: MonitoringSlo, rate: float, window: str) -> MonitoringAlertPolicyConditions:
    return MonitoringAlertPolicyConditions(
        display_name=f"over {window}",
        condition_threshold=MonitoringAlertPolicyConditionsConditionThreshold(
            filter=f'select_slo_burn_rate("{slo.name}", "{window}")',
            comparison="COMPARISON_GT",
            threshold_value=rate,
            duration="0s",
        ),
    )
