"""Pods of a plan, and what of them is asked again and again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from apx.settings import Settings
from services.control.settings import ControlSettings
from services.edge.settings import EdgeSettings
from services.monitor.settings import MonitorSettings
from services.router.settings import RouterSettings
from services.worker.settings import WorkerSettings
from tests.stacks.plans import ROOT, Body, Plan, Resource

SETTINGS: dict[str, type[Settings]] = {
    "services.edge.envoy": EdgeSettings,
    "services.edge": EdgeSettings,
    "services.router": RouterSettings,
    "services.worker": WorkerSettings,
    "services.monitor": MonitorSettings,
    "services.control": ControlSettings,
}
GONE_S = re.compile(r"time\.sleep\((\d+)\)")


def pods(plan: Plan) -> Iterator[tuple[Resource, Body]]:
    for one in plan.resources("kubernetes_deployment_v1"):
        yield one, one.body["spec"]["template"]["spec"]


def containers(plan: Plan) -> Iterator[tuple[Resource, Body]]:
    for one, pod in pods(plan):
        yield from ((one, container) for container in pod["container"])


def manifests(plan: Plan, kind: str, stack: str = "") -> list[Body]:
    found = [one for one in plan.resources("kubernetes_manifest") if one.body["manifest"]["kind"] == kind]
    return [one.body["manifest"] for one in found if stack in ("", one.stack)]


def rules(plan: Plan, direction: str) -> Iterator[tuple[Resource, Body]]:
    for one in plan.resources("kubernetes_network_policy_v1"):
        yield from ((one, rule) for rule in one.body["spec"].get(direction, ()))


def labels_of(spec: Body) -> dict[str, str]:
    selector = spec["pod_selector"] if "pod_selector" in spec else spec["selector"]
    labels: dict[str, str] = selector.get("match_labels", {})
    return labels


def pod_labels(one: Resource) -> dict[str, str]:
    labels: dict[str, str] = one.body["spec"]["template"]["metadata"]["labels"]
    return labels


def variables(container: Body) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container["env"]}


def settings_of(container: Body, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load a container's environment as its process would."""
    with monkeypatch.context() as alone:
        for name in [name for name in os.environ if name.startswith("APX_")]:
            alone.delenv(name)
        for name, value in variables(container).items():
            alone.setenv(name, value)
        return SETTINGS[module_of(container)].load()


def before_end_s(container: Body, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return how long a container's hook may take before the process is told to end."""
    hooks = container.get("lifecycle", {}).get("pre_stop", [])
    command = hooks[0]["exec"]["command"] if hooks else []
    if "services.edge.drain" in command:
        return int(command[-1]) + int(settings_of(container, monkeypatch).edge_drain_s) + 1
    return sum(int(seconds) for seconds in GONE_S.findall(" ".join(command)))


def question(probe: Body) -> tuple[str, str]:
    asked = probe.get("http_get") or probe["tcp_socket"][0]
    return asked["port"], asked.get("path", "")


def module_of(container: Body) -> str:
    python, dash_m, module = container["command"]
    assert (python, dash_m) == ("python", "-m")
    return str(module)


def mib(size: str) -> int:
    assert size.endswith("Mi")
    return int(size.removesuffix("Mi"))


def address(one: Resource, container: Body) -> str:
    return f"{one.address}: {container['name']}"


def user_of_the_image() -> str:
    (user,) = set(re.findall(r"^USER (\d+):\d+$", (ROOT / "services" / "Dockerfile").read_text(), re.MULTILINE))
    return str(user)
