"""Logs: who did what is kept where nobody can delete it; what says nothing is not kept; what is rare is counted."""

from __future__ import annotations

from cdktf import TerraformStack
from cdktf_cdktf_provider_google.logging_metric import (
    LoggingMetric,
    LoggingMetricMetricDescriptor,
    LoggingMetricMetricDescriptorLabels,
)
from cdktf_cdktf_provider_google.logging_project_bucket_config import LoggingProjectBucketConfig
from cdktf_cdktf_provider_google.logging_project_exclusion import LoggingProjectExclusion
from cdktf_cdktf_provider_google.logging_project_sink import LoggingProjectSink, LoggingProjectSinkExclusions

from stacks.environment import ALL_OF_A_REGION, Environment
from stacks.identity import NAMESPACE, WORKLOADS

AUDIT = 'logName:"cloudaudit.googleapis.com"'
DATA_ACCESS = 'logName:"cloudaudit.googleapis.com%2Fdata_access"'
ALL = 100
"""Per cent."""
AUDIT_DAYS = 400
"""A year, and time to look at it."""
OURS = f'resource.type="k8s_container" resource.labels.namespace_name="{NAMESPACE}"'
EDGE_REFUSED = '("edge.not-published" OR "edge.refused")'
BY_PRODUCTS = '("release.refused" OR "edge.product-refused" OR "edge.name-leads-inside")'
"""Errors that a product's owner made, and hears of from the pipeline."""

NOISE = {
    "probes": (
        f'{OURS} jsonPayload.event="edge.request" jsonPayload.status=200 jsonPayload.path=("/healthz" OR "/readyz")'
    ),
    "uptime-checks": (
        'resource.type="http_load_balancer" httpRequest.status=200'
        ' httpRequest.userAgent:"GoogleStackdriverMonitoring-UptimeChecks"'
    ),
    # Each connection of the load balancers and of their health checks: one in a hundred shows that they come.
    "load-balancers": (
        'logName:"compute.googleapis.com%2Ffirewall"'
        ' jsonPayload.rule_details.reference:"allow-load-balancers" sample(insertId, 0.99)'
    ),
    # Logged for each call of each store, and paid by the byte. What is kept of them stands in the audit bucket.
    "data-access": DATA_ACCESS,
}
"""What the default bucket does not keep. The audit sink looks for itself."""

SUCCEEDED = {
    "succeeded-calls": (f'{OURS} jsonPayload.event="request" jsonPayload.status<400', "jsonPayload.trace_id"),
    "succeeded-requests": (
        f'{OURS} jsonPayload.event="request-finished" jsonPayload.state="succeeded"',
        "jsonPayload.trace_id",
    ),
    "succeeded-at-edge": (
        f'{OURS} jsonPayload.event="edge.request" jsonPayload.status<400',
        "jsonPayload.request_id",
    ),
}
"""The lines that every request writes, and the field by which those of one request are kept together, or none."""

COUNTED = {
    "apx-faults": (
        f"{OURS} severity>=ERROR -jsonPayload.event={EDGE_REFUSED} -jsonPayload.event={BY_PRODUCTS}",
        "process",
    ),
    "apx-edge-refused": (f"{OURS} jsonPayload.event={EDGE_REFUSED}", "process"),
    "apx-rollouts-aborted": (f'{OURS} jsonPayload.event="rollout.moved" jsonPayload.by="abort"', "product"),
}
"""Metrics of lines: the filter, and the field that becomes a label."""


def logs(stack: TerraformStack, environment: Environment) -> None:
    """Make the audit log's bucket and its sink, the exclusions, and the metrics of lines."""
    _audit(stack, environment)
    for name, noise in NOISE.items():
        LoggingProjectExclusion(stack, f"noise-{name}", name=f"apx-{name}", filter=noise)
    kept_percent = environment.logs.succeeded_percent
    if kept_percent < ALL:
        for name, (lines, field) in SUCCEEDED.items():
            left_out = _left_out(lines, field, kept_percent)
            LoggingProjectExclusion(stack, f"noise-{name}", name=f"apx-{name}", filter=left_out)
    for name, (lines, label) in COUNTED.items():
        _count(stack, name, lines, label)


def _left_out(lines: str, field: str, kept_percent: int) -> str:
    """Return what takes all but so many per cent of some lines; those with the same value in the field together."""
    return f"{lines} sample({field}, {(ALL - kept_percent) / ALL:g})"


def _own_calls(environment: Environment) -> str:
    """Return the calls that our pods make to the stores all day, and nobody else with a token of theirs."""
    accounts = " OR ".join(f'"apx-{name}@{environment.project}.iam.gserviceaccount.com"' for name in WORKLOADS)
    return (
        f"{DATA_ACCESS} severity<WARNING protoPayload.authenticationInfo.principalEmail=({accounts})"
        f' ip_in_net(protoPayload.requestMetadata.callerIp, "{ALL_OF_A_REGION}")'
    )


def _audit(stack: TerraformStack, environment: Environment) -> None:
    kept_percent = environment.logs.own_calls_percent
    bucket = LoggingProjectBucketConfig(
        stack,
        "audit",
        project=environment.project,
        location=environment.home.name,
        bucket_id="apx-audit",
        description=f"Who did what, for {AUDIT_DAYS} days",
        retention_days=AUDIT_DAYS,
        # A lock is for ever: not where everything may be thrown away.
        locked=environment.data.delete_protection,
    )
    LoggingProjectSink(
        stack,
        "audit-sink",
        name="apx-audit",
        destination=f"logging.googleapis.com/{bucket.id}",
        filter=AUDIT,
        exclusions=[
            LoggingProjectSinkExclusions(
                name="own-calls",
                description="What every request does to the stores; what failed, and people, are kept",
                filter=_left_out(_own_calls(environment), "insertId", kept_percent),
            )
        ]
        if kept_percent < ALL
        else None,
        unique_writer_identity=True,
    )


def _count(stack: TerraformStack, name: str, lines: str, label: str) -> None:
    LoggingMetric(
        stack,
        f"lines-{name}",
        name=name,
        filter=lines,
        metric_descriptor=LoggingMetricMetricDescriptor(
            metric_kind="DELTA",
            value_type="INT64",
            unit="1",
            labels=[LoggingMetricMetricDescriptorLabels(key=label, value_type="STRING")],
        ),
        label_extractors={label: f"EXTRACT(jsonPayload.{label})"},
    )
