"""How many pods there are: by the processor, and for the workers by what waits in Pub/Sub."""

from __future__ import annotations

from collections.abc import Sequence

import cdktf_cdktf_provider_kubernetes.horizontal_pod_autoscaler_v2 as k8s
from cdktf_cdktf_provider_kubernetes.horizontal_pod_autoscaler_v2 import HorizontalPodAutoscalerV2SpecMetric as Metric

from stacks.environment import Replicas
from stacks.namespace import NamespaceStack

CPU_PERCENT = 60
BACKLOG = "pubsub.googleapis.com|subscription|num_undelivered_messages"
"""Asked of Cloud Monitoring by the Custom Metrics Stackdriver Adapter, which the cluster has to have. While it does not
answer, the processor still adds pods, and none is taken away."""
SUBSCRIPTION = "resource.labels.subscription_id"
CALM_S = 300
"""How long fewer pods must be enough before one is taken away."""


def autoscaler(stack: NamespaceStack, name: str, replicas: Replicas, metrics: Sequence[Metric]) -> None:
    """Scale a deployment between its bounds, by whichever measure wants most: up at once, down calmly."""
    k8s.HorizontalPodAutoscalerV2(
        stack,
        f"autoscaler-{name}",
        metadata=k8s.HorizontalPodAutoscalerV2Metadata(name=name, namespace=stack.namespace),
        spec=k8s.HorizontalPodAutoscalerV2Spec(
            min_replicas=replicas.least,
            max_replicas=replicas.most,
            scale_target_ref=k8s.HorizontalPodAutoscalerV2SpecScaleTargetRef(
                api_version="apps/v1", kind="Deployment", name=name
            ),
            metric=list(metrics),
            behavior=_behavior(),
        ),
    )


def by_processor(*containers: str) -> list[Metric]:
    """Measure these containers, each by itself: one at its limit would be lost in the pod's average."""
    target = k8s.HorizontalPodAutoscalerV2SpecMetricContainerResourceTarget(
        type="Utilization", average_utilization=CPU_PERCENT
    )
    return [
        Metric(
            type="ContainerResource",
            container_resource=k8s.HorizontalPodAutoscalerV2SpecMetricContainerResource(
                name="cpu", container=name, target=target
            ),
        )
        for name in containers
    ]


def by_backlog(subscriptions: Sequence[str], per_pod: int) -> list[Metric]:
    """Measure what waits in all of these subscriptions together: the workers serve them all."""
    if not subscriptions:
        return []
    metric = k8s.HorizontalPodAutoscalerV2SpecMetricExternalMetric(name=BACKLOG, selector=[_one_of(subscriptions)])
    target = k8s.HorizontalPodAutoscalerV2SpecMetricExternalTarget(type="AverageValue", average_value=str(per_pod))
    external = k8s.HorizontalPodAutoscalerV2SpecMetricExternal(metric=metric, target=target)
    return [Metric(type="External", external=external)]


def _one_of(subscriptions: Sequence[str]) -> k8s.HorizontalPodAutoscalerV2SpecMetricExternalMetricSelector:
    """Select subscriptions; a single one by its label, as the adapter leaves a lone value of `In` without its quotes.

    (GoogleCloudPlatform/k8s-stackdriver, custom-metrics-stackdriver-adapter/pkg/adapter/translator/query_builder.go)
    """
    select = k8s.HorizontalPodAutoscalerV2SpecMetricExternalMetricSelector
    if len(subscriptions) == 1:
        return select(match_labels={SUBSCRIPTION: subscriptions[0]})
    any_of = k8s.HorizontalPodAutoscalerV2SpecMetricExternalMetricSelectorMatchExpressions(
        key=SUBSCRIPTION, operator="In", values=list(subscriptions)
    )
    return select(match_expressions=[any_of])


def _behavior() -> k8s.HorizontalPodAutoscalerV2SpecBehavior:
    doubled = k8s.HorizontalPodAutoscalerV2SpecBehaviorScaleUpPolicy(type="Percent", value=100, period_seconds=30)
    some = k8s.HorizontalPodAutoscalerV2SpecBehaviorScaleUpPolicy(type="Pods", value=4, period_seconds=30)
    a_tenth = k8s.HorizontalPodAutoscalerV2SpecBehaviorScaleDownPolicy(type="Percent", value=10, period_seconds=60)
    up = k8s.HorizontalPodAutoscalerV2SpecBehaviorScaleUp(
        stabilization_window_seconds=0, select_policy="Max", policy=[doubled, some]
    )
    down = k8s.HorizontalPodAutoscalerV2SpecBehaviorScaleDown(
        stabilization_window_seconds=CALM_S, select_policy="Max", policy=[a_tenth]
    )
    return k8s.HorizontalPodAutoscalerV2SpecBehavior(scale_up=[up], scale_down=[down])
