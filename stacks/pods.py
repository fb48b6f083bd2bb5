"""What a pod and its processes are, before they are Kubernetes objects."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

HOME = "/var/lib/apx"
"""APX_HOME: short, as the paths of Unix sockets under it have to be."""
LOGS_MIB = 128
"""Room on the node for what a container writes to stdout, until it is rotated."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a container gets; it asks for no less than it may use, so that a full node takes nothing away."""

    cpu_m: int
    memory_mib: int


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that can be written and goes with the pod."""

    volume: str
    path: str
    size_mib: int


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a container's port: a path, or whether somebody listens."""

    path: str = ""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One container."""

    name: str
    module: str
    variables: Mapping[str, str]
    port: int
    port_name: str = "metrics"
    metrics: bool = False
    """Whether `/metrics` is served on the port."""
    started: Probe = Probe(path="/healthz")
    alive: Probe = Probe(path="/healthz")
    ready: Probe
    before_end: tuple[str, ...] = ()
    """What runs before the process is told to end."""
    before_end_s: int = 0
    drain_s: int = 0
    """How long it may take once it was told."""
    size: Size
    mounts: tuple[Mount, ...]
    secrets: tuple[str, ...] = ()
    """Of `names.SECRETS`, as files in `<home>/keys`."""
    store: bool = False
    """Whether it talks to Valkey, and so needs to know whom to trust there."""

    @property
    def disk_mib(self) -> int:
        """Return what its volumes and its log may take of the node's disk."""
        return sum(mount.size_mib for mount in self.mounts) + LOGS_MIB


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment."""

    name: str
    account: str
    processes: tuple[Process, ...]
    replicas: int = 0
    """How many, always; 0: the autoscaler says."""
    waits_for_release: bool = False
    slack_s: int

    @property
    def grace_s(self) -> int:
        """Return how long the slowest of its processes may take to end."""
        return max(process.before_end_s + process.drain_s for process in self.processes) + self.slack_s

    @property
    def volumes(self) -> dict[str, int]:
        """Return the sizes of its volumes, in MiB."""
        return {mount.volume: mount.size_mib for process in self.processes for mount in process.mounts}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the secrets that any of its processes reads."""
        return tuple(name for process in self.processes for name in process.secrets)

    @property
    def labels(self) -> dict[str, str]:
        """Return what services, policies and budgets find its pods by."""
        return {"app.kubernetes.io/name": self.name}
