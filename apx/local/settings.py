"""Settings of the platform on one machine: its ports, its gitops tree, how many workers it runs."""

from __future__ import annotations

import socket
from itertools import islice
from pathlib import Path
from random import SystemRandom
from typing import Annotated

from pydantic import BeforeValidator, Field

from apx.backends.gcp import emulators
from apx.errors import Unavailable
from apx.local.repository import repository
from apx.settings import GitSettings

DEMO_BACKEND = "demo.localhost:9000"
"""The name that the example products call; `connect_to` leads it to wherever the demo backend listens."""

CHOICE = range(15_000, 32_000)
"""Where free ports are taken from: below what systems give to outgoing connections (Linux: from 32,768), since one of
those may take a port between our choice and its use."""
_RANDOM = SystemRandom()
PROJECT, REGION = "apx-local", "us-central1"
"""What is emulated, where nothing else is said."""
_EMULATORS = ("firestore_port", "pubsub_port", "storage_port")
_ONE_EACH = ("edge_port", "control_port", "router_port", "demo_port", "monitor_port")

Port = Annotated[int, BeforeValidator(lambda value: 0 if value == "auto" else value), Field(ge=0, le=65_535)]
"""A port of 127.0.0.1; 0 or `auto`: any free one."""


class LocalSettings(GitSettings):
    """What `up` needs to know beyond what its processes read for themselves."""

    edge_port: Port = 8080
    control_port: Port = 8081
    router_port: Port = 8082
    worker_port: Port = 8083
    """The first worker's health port; each further worker takes the next."""
    demo_port: Port = 9000
    monitor_port: Port = 0
    """Health and metrics of the monitor; nobody but `status` asks for it by number."""
    firestore_port: Port = 0
    pubsub_port: Port = 0
    storage_port: Port = 0
    """Of Google's emulators, with `backends` gcp."""
    gitops: Path = Path("gitops")
    workers: int = Field(default=1, ge=1, le=16)

    def resolved(self) -> LocalSettings:
        """Return the same with absolute paths, with a port wherever any free one was asked for."""
        names = [name for name in self._one_each() if getattr(self, name) == 0]
        free = free_ports(len(names))
        worker_port = self.worker_port or free_range(self.workers)
        paths = {"home": self.home.expanduser().resolve(), "gitops": self.gitops.expanduser().resolve()}
        place = {"gcp_project": self.gcp_project or PROJECT, "gcp_region": self.gcp_region or REGION}
        found = {**dict(zip(names, free, strict=True)), "worker_port": worker_port, **paths}
        return self.model_copy(update={**found, **(place if self.backends == "gcp" else {})})

    def _one_each(self) -> tuple[str, ...]:
        return (*_ONE_EACH, *_EMULATORS) if self.backends == "gcp" else _ONE_EACH

    def ports(self) -> dict[str, int]:
        """Return every port that the platform listens on, under the name of the variable that moves it."""
        named = {
            "APX_EDGE_PORT": self.edge_port,
            "APX_CONTROL_PORT": self.control_port,
            "APX_ROUTER_PORT": self.router_port,
            "APX_DEMO_PORT": self.demo_port,
            "APX_MONITOR_PORT": self.monitor_port,
            "APX_WORKER_PORT": self.worker_port,
        }
        if self.backends == "gcp":
            named |= {f"APX_{name.upper()}": getattr(self, name) for name in _EMULATORS}
        more = {f"APX_WORKER_PORT+{i}": self.worker_port + i for i in range(1, self.workers)}
        return named | more

    def environment(self) -> dict[str, str]:
        """Return what the processes are told about this platform."""
        demo = f"{DEMO_BACKEND}=127.0.0.1:{self.demo_port}"
        return {
            "APX_HOME": str(self.home),
            "APX_GITOPS": str(self.gitops),
            "APX_GIT_REPOSITORY": self.git_repository or str(repository(self.home)),
            "APX_OTLP_ENDPOINT": self.otlp_endpoint or f"http://127.0.0.1:{self.control_port}/otlp",
            "APX_WEBHOOK_LOOPBACK": "true",
            "APX_CONNECT_TO": ",".join(filter(None, (self.connect_to, demo))),
            **{name: str(port) for name, port in self.ports().items() if "+" not in name},
            **self.google(),
        }

    def google(self) -> dict[str, str]:
        """Return what a process must be told to use this platform's emulators; nothing where there are none."""
        if self.backends != "gcp":
            return {}
        return {
            "APX_BACKENDS": "gcp",
            "APX_GCP_PROJECT": self.gcp_project,
            "APX_GCP_REGION": self.gcp_region,
            **emulators.addresses(firestore=self.firestore_port, pubsub=self.pubsub_port, storage=self.storage_port),
        }


def free_ports(count: int) -> list[int]:
    """Return `count` different ports of 127.0.0.1 on which nothing listens. Raises `Unavailable` without so many."""
    free = (port for port in _RANDOM.sample(CHOICE, len(CHOICE)) if not busy(port))
    found = list(islice(free, count))
    if len(found) < count:
        raise Unavailable(f"There are no {count} free ports between {CHOICE.start} and {CHOICE.stop} on 127.0.0.1.")
    return found


def free_range(count: int) -> int:
    """Return the first of `count` neighbouring free ports of 127.0.0.1. Raises `Unavailable` without so many."""
    for first in _RANDOM.sample(CHOICE, len(CHOICE)):
        if not any(busy(port) for port in range(first, first + count)):
            return first
    raise Unavailable(f"There are no {count} neighbouring free ports from {CHOICE.start} on, on 127.0.0.1.")


def busy(port: int) -> str:
    """Return why 127.0.0.1:`port` cannot be listened on, or an empty string."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return ""
