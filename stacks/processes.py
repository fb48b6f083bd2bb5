"""Which processes run in which pods, what each is told, how much it gets, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from apx.backends.gcp import names
from services.control.settings import ControlSettings
from services.edge.settings import LAST_ANSWERS_S, EdgeSettings
from services.monitor.settings import MonitorSettings
from services.router.settings import RouterSettings
from services.worker.settings import WorkerSettings
from stacks.encryption import signing_key_version
from stacks.environment import Environment, Region
from stacks.network import CONTROL_PORT, EDGE_PORT
from stacks.pods import HOME, Mount, Pod, Probe, Process, Size
from stacks.variables import Told, tell

EVERYWHERE = "0.0.0.0"  # noqa: S104 -- the pod's own address and, for port-forward, its loopback
NOTICE_S = 15
"""How long Google's load balancer may still send to a pod that is to go: taking its endpoint away takes seconds."""
SLACK_S = 5
"""For what is in no setting: an interpreter that starts for a hook, connections that close, the last lines."""
XFF_HOPS = 2
"""Google's load balancer adds two entries to X-Forwarded-For: `<client>,<itself>`. With `use_remote_address` Envoy
takes the Nth from the right for the client, N being its trusted hops (source/common/http/conn_manager_utility.cc)."""
IDLE_S = 620
"""Google's load balancer keeps its connections for 600 s, and whoever is behind it must not close one first: a request
on its way would get a 502."""
EDGE_CONFIG_PORT = 8084
RECEIPTS, ARMS, ADMIN_TOKEN, CONTROL_TOKENS, WEBHOOKS = names.SECRETS
SOCKETS = Mount(volume="sockets", path=f"{HOME}/run", size_mib=16)
FILES = Mount(volume="edge-files", path=f"{HOME}/edge", size_mib=512)
"""What Envoy reads and the log of answers that it writes: all that it shares, so that whoever breaks into it finds no
state and no compiled policy of the router."""
READY = Probe(path="/readyz")


class People(msgspec.Struct, frozen=True):
    """Whom the control API knows, by address, and the project whose proxy says who they are."""

    project_number: str
    admins: tuple[str, ...]
    operators: tuple[str, ...]
    viewers: tuple[str, ...]


Values = Mapping[str, str | int | float | bool]


def pods(environment: Environment, region: Region, valkey_url: str, people: People) -> tuple[Pod, ...]:
    """Return every pod of a region."""
    stores: Values = {
        "home": HOME,
        "backends": "gcp",
        "gcp_project": environment.project,
        "gcp_region": region.name,
        "gcp_signing_key": signing_key_version(environment),
        "valkey_url": valkey_url,
        "valkey_iam": True,
    }
    return (_edge(region, stores), _worker(stores), _monitor(stores), _control(region, stores, people))


def _edge(region: Region, stores: Values) -> Pod:
    """Envoy, the router behind it on one Unix socket, and what renders Envoy's files."""
    router = tell(RouterSettings, {**stores, "region": region.residency, "router_host": EVERYWHERE})
    envoy_size = Size(cpu_m=1000, memory_mib=1024)
    listening: Values = {
        "home": HOME,
        "edge_bind": EVERYWHERE,
        "edge_port": EDGE_PORT,
        "edge_xff_hops": XFF_HOPS,
        "edge_idle_timeout_s": IDLE_S,
        "edge_workers": envoy_size.cpu_m // 1000,
        "edge_heap_bytes": envoy_size.memory_mib * 1024 * 1024 * 3 // 4,
        # Nobody who waits for a result is cut off when pods are replaced.
        "edge_drain_s": math.ceil(router.settings.max_wait_s),
    }
    health: Values = {"edge_config_host": EVERYWHERE, "edge_config_port": EDGE_CONFIG_PORT}
    envoy = _envoy(tell(EdgeSettings, listening), envoy_size)
    after_envoy_s = envoy.before_end_s + SLACK_S
    return Pod(
        name="edge",
        account="router",
        # Before the first release is live nothing is ready, and the first release comes after the stacks.
        waits_for_release=True,
        processes=(
            envoy,
            _edge_config(tell(EdgeSettings, {**stores, **listening, **health}), after_envoy_s),
            _router(router, after_envoy_s),
        ),
        slack_s=SLACK_S,
    )


def _envoy(told: Told[EdgeSettings], size: Size) -> Process:
    return Process(
        name="envoy",
        module="services.edge.envoy",
        variables=told.variables,
        port=EDGE_PORT,
        port_name="http",
        # Envoy's own answer to a path is the router's: only whether it listens is its own.
        started=Probe(),
        alive=Probe(),
        ready=READY,
        before_end=("python", "-m", "services.edge.drain", str(NOTICE_S)),
        before_end_s=NOTICE_S + told.settings.edge_drain_s + math.ceil(LAST_ANSWERS_S),
        size=size,
        mounts=(SOCKETS, FILES, _tmp("envoy")),
    )


def _edge_config(told: Told[EdgeSettings], after_envoy_s: int) -> Process:
    return Process(
        name="edge-config",
        module="services.edge",
        variables=told.variables,
        port=told.settings.edge_config_port,
        port_name="config-metrics",
        metrics=True,
        ready=READY,
        before_end=_sleep(after_envoy_s),
        before_end_s=after_envoy_s,
        size=Size(cpu_m=250, memory_mib=1024),  # it tries each configuration with an Envoy of its own
        mounts=(*_own("edge-config", 512), SOCKETS, FILES),
        store=True,
    )


def _router(told: Told[RouterSettings], after_envoy_s: int) -> Process:
    return Process(
        name="router",
        module="services.router",
        variables=told.variables,
        port=told.settings.router_port,
        port_name="router-metrics",
        metrics=True,
        ready=READY,
        before_end=_sleep(after_envoy_s),
        before_end_s=after_envoy_s,
        drain_s=math.ceil(told.settings.drain_s),
        size=Size(cpu_m=1000, memory_mib=1024),
        mounts=(*_own("router", 1024), SOCKETS),
        secrets=(RECEIPTS, ARMS),
        store=True,
    )


def _worker(stores: Values) -> Pod:
    told = tell(WorkerSettings, {**stores, "worker_host": EVERYWHERE})
    settings = told.settings
    worker = _alone(
        "worker",
        told,
        settings.worker_port,
        drain_s=settings.drain_s,
        size=Size(cpu_m=500, memory_mib=512),
        secrets=(WEBHOOKS,),
    )
    return Pod(name="worker", account="worker", processes=(worker,), slack_s=SLACK_S)


def _monitor(stores: Values) -> Pod:
    """Two, of which one leads; whoever is longer over a look than its lease has lost it anyway."""
    told = tell(MonitorSettings, {**stores, "monitor_host": EVERYWHERE})
    settings = told.settings
    monitor = _alone(
        "monitor", told, settings.monitor_port, drain_s=settings.monitor_lease_s, size=Size(cpu_m=250, memory_mib=512)
    )
    return Pod(name="monitor", account="monitor", processes=(monitor,), replicas=2, slack_s=SLACK_S)


def _control(region: Region, stores: Values, people: People) -> Pod:
    listening: Values = {
        "region": region.residency,
        "control_bind": EVERYWHERE,
        "control_port": CONTROL_PORT,
        "control_idle_timeout_s": IDLE_S,
    }
    told = tell(
        ControlSettings,
        {
            **stores,
            **listening,
            # Of any backend service of the project: this one's id is known once its pods are there.
            "iap_audience": f"/projects/{people.project_number}/global/backendServices/*",
            "iap_admins": ",".join(people.admins),
            "iap_operators": ",".join(people.operators),
            "iap_viewers": ",".join(people.viewers),
        },
    )
    control = _alone(
        "control",
        told,
        told.settings.control_port,
        drain_s=told.settings.drain_s,
        size=Size(cpu_m=250, memory_mib=512),
        port_name="http",
        before_end=_sleep(NOTICE_S),
        before_end_s=NOTICE_S,
        secrets=(RECEIPTS, ADMIN_TOKEN, CONTROL_TOKENS, WEBHOOKS),
    )
    return Pod(name="control", account="control", processes=(control,), slack_s=SLACK_S)


def _alone(name: str, told: Told[Any], port: int, *, drain_s: float, size: Size, **more: Any) -> Process:
    """Return the one process of a pod, with its health, readiness and metrics on one port."""
    return Process(
        name=name,
        module=f"services.{name}",
        variables=told.variables,
        port=port,
        metrics=True,
        ready=READY,
        drain_s=math.ceil(drain_s),
        size=size,
        mounts=_own(name, 512),
        store=True,
        **more,
    )


def _own(name: str, size_mib: int) -> tuple[Mount, ...]:
    return (Mount(volume=f"{name}-home", path=HOME, size_mib=size_mib), _tmp(name))


def _tmp(name: str) -> Mount:
    return Mount(volume=f"{name}-tmp", path="/tmp", size_mib=64)  # noqa: S108 -- a volume of this container alone


def _sleep(seconds: int) -> tuple[str, ...]:
    """Return a command that waits, in an image that need not have a shell."""
    return ("python", "-c", f"import time; time.sleep({seconds})")
