"""What one environment is: `environments/<name>.yaml`, checked against the types below."""

from __future__ import annotations

import json
import re
import sys
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from apx.catalog.document import Document, read_document
from apx.catalog.mistakes import Mistake
from apx.errors import Misconfigured

FOLDER = Path(__file__).resolve().parent / "environments"
SCHEMA = "schema.json"
_MODELINE = f"# yaml-language-server: $schema={SCHEMA}"
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9]{1,9}$")]
ProjectId = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
RegionName = Annotated[str, Meta(pattern="^[a-z]+-[a-z]+[0-9]{1,2}$")]
Domain = Annotated[str, Meta(pattern="^([a-z0-9-]{1,63}\\.)+[a-z]{2,}$", max_length=253)]
Email = Annotated[str, Meta(pattern="^[^@\\s]+@[^@\\s]+\\.[a-z]+$")]
Viewer = Annotated[str, Meta(pattern="^(\\*|[^@\\s]+@[^@\\s]+\\.[a-z]+)$")]
Member = Annotated[str, Meta(pattern="^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$")]
Repository = Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
Hour = Annotated[int, Meta(ge=0, le=23)]
IMAGE = r"^[a-z0-9.-]+(/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}$"
"""What names an image: a repository and a digest, never a tag."""
ALL_OF_A_REGION = IPv4Network("10.0.0.0/8")


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all that the file says."""


class Region(Spec, frozen=True, kw_only=True):
    """One place where everything runs. The first region of the file is the home of what exists once."""

    name: RegionName
    number: Annotated[int, Meta(ge=0, le=15)]
    """Which sixteenth of 10.0.0.0/8 is its own. Never changes while the region exists."""
    residency: Literal["us", "eu"]
    """Orgs of this residency have their data here and nowhere else."""
    zones: tuple[Annotated[str, Meta(pattern="^[a-f]$")], ...] = ("a", "b", "c")

    @property
    def addresses(self) -> IPv4Network:
        """Return the region's addresses, a /12."""
        return list(ALL_OF_A_REGION.subnets(new_prefix=12))[self.number]

    @property
    def nodes(self) -> IPv4Network:
        """Return the addresses of nodes and load balancers, a /20."""
        return next(self.addresses.subnets(new_prefix=20))

    @property
    def services(self) -> IPv4Network:
        """Return the addresses of Kubernetes services, a /20."""
        return list(self.addresses.subnets(new_prefix=20))[1]

    @property
    def pods(self) -> IPv4Network:
        """Return the addresses of pods, a /14."""
        return list(self.addresses.subnets(new_prefix=14))[1]

    @property
    def zone_names(self) -> tuple[str, ...]:
        """Return the zones by their whole names."""
        return tuple(f"{self.name}-{zone}" for zone in self.zones)


class Cluster(Spec, frozen=True, kw_only=True):
    """Settings of the GKE clusters."""

    mode: Literal["autopilot", "standard"] = "autopilot"
    release_channel: Literal["REGULAR", "STABLE"] = "STABLE"
    maintenance_hour_utc: Hour = 3
    """Start of the four hours, Tuesday to Thursday, in which Google may upgrade."""
    machine_type: str = "e2-standard-4"
    """Of nodes, in mode standard."""
    most_nodes_per_zone: Annotated[int, Meta(ge=1, le=100)] = 3
    operators_cidr: tuple[str, ...] = ()
    """Networks that may reach the control plane; with none, it is only reached by its DNS endpoint, through IAM."""


class Replicas(Spec, frozen=True, kw_only=True):
    """How many pods of a workload, per region."""

    least: Annotated[int, Meta(ge=1, le=1000)] = 2
    most: Annotated[int, Meta(ge=1, le=1000)] = 10


class Workloads(Spec, frozen=True, kw_only=True):
    """Settings of what runs in the clusters."""

    edge: Replicas = Replicas()
    """Envoy and router, which stand side by side in one pod."""
    worker: Replicas = Replicas(least=2, most=50)
    control: Replicas = Replicas(least=2, most=4)


class Data(Spec, frozen=True, kw_only=True):
    """Settings of what keeps data."""

    delete_protection: bool = True
    backup_retention_days: Annotated[int, Meta(ge=1, le=98)] = 14
    valkey_replicas: Annotated[int, Meta(ge=0, le=5)] = 1
    valkey_node_type: Literal["SHARED_CORE_NANO", "STANDARD_SMALL", "HIGHMEM_MEDIUM", "HIGHMEM_XLARGE"] = (
        "STANDARD_SMALL"
    )


class Logs(Spec, frozen=True, kw_only=True):
    """How much is kept of what happens at every request and went well. What failed is kept whole."""

    succeeded_percent: Annotated[int, Meta(ge=0, le=100)] = 10
    """Of the requests that succeeded, those whose lines are kept, all of one trace or none."""
    own_calls_percent: Annotated[int, Meta(ge=0, le=100)] = 1
    """Of the workloads' own calls to the stores, from within the network, those that the audit bucket keeps."""


class Environment(Spec, frozen=True, kw_only=True):
    """One installation of APX in one Google Cloud project."""

    name: Name
    project: ProjectId
    domain: Domain
    """Where clients call; the control API is at `control.<domain>`."""
    github_repository: Repository
    """Whose workflows may deploy, and from which commits."""
    regions: Annotated[tuple[Region, ...], Meta(min_length=1, max_length=16)]
    operators: tuple[Member, ...] = ()
    """Whom the identity-aware proxy lets through to the control API. What they may do there say the next three, and the
    orgs that they are members of: by themselves, nothing."""
    control_operators: tuple[Email, ...] = ()
    """Addresses of those who may move rollouts there."""
    control_admins: tuple[Email, ...] = ()
    """Addresses of those who may also revoke keys."""
    control_viewers: tuple[Viewer, ...] = ()
    """Addresses of those who may look at everything there; `*` is all `operators`."""
    alert_emails: Annotated[tuple[Email, ...], Meta(min_length=1)]
    cluster: Cluster = Cluster()
    workloads: Workloads = Workloads()
    data: Data = Data()
    logs: Logs = Logs()
    blocked_cidrs: tuple[str, ...] = ()
    """Addresses that the edge refuses before anything else."""
    requests_per_minute_per_address: Annotated[int, Meta(ge=10, le=10_000)] = 6_000
    """Above it Cloud Armor bans an address for ten minutes; far above what plans allow a key."""

    @property
    def home(self) -> Region:
        """Return the region of what exists once."""
        return self.regions[0]

    @property
    def state_bucket(self) -> str:
        """Return the bucket of Terraform's state; `./dev deploy` says how it is made."""
        return f"{self.project}-tfstate"


def read_environment(path: Path) -> Environment:
    """Read and check a file. Raises `Misconfigured` with `file:line:column` and the way out."""
    document, mistakes = read_document(str(path), _read(path), _MODELINE)
    if document is None or mistakes:
        raise Misconfigured("\n".join(map(str, mistakes)))
    try:
        environment = msgspec.convert(document.value, Environment)
    except msgspec.ValidationError as error:
        raise Misconfigured(str(_mistake(document, str(error)))) from None
    if wrong := [*_contradictions(document, environment, path)]:
        raise Misconfigured("\n".join(map(str, wrong)))
    return environment


def environments(folder: Path = FOLDER) -> list[str]:
    """Return the names of the environments in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def schema() -> dict[str, Any]:
    """Return the JSON Schema that editors complete and check the files with."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Environment",
        **msgspec.json.schema(Environment),
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        known = ", ".join(environments(path.parent)) or "none"
        raise Misconfigured(f"{path}: {error.strerror}: the environments here are: {known}") from None


def _contradictions(document: Document, environment: Environment, path: Path) -> list[Mistake]:
    """Return what no single value shows."""
    found = []
    if environment.name != path.stem:
        message = f"name: {environment.name!r} is not the file's: write {path.stem!r}"
        found.append(document.mistake(("name",), "name-differs", message))
    for field in ("name", "number"):
        values = [getattr(region, field) for region in environment.regions]
        for index, value in enumerate(values):
            if value in values[:index]:
                message = f"regions[{index}].{field}: {value!r} is another region's"
                found.append(document.mistake(("regions", index, field), "region-repeated", message))
    for kind in ("edge", "worker", "control"):
        replicas: Replicas = getattr(environment.workloads, kind)
        if replicas.least > replicas.most:
            message = f"workloads.{kind}.least: {replicas.least} is over most, {replicas.most}"
            found.append(document.mistake(("workloads", kind, "least"), "bounds-crossed", message))
    return found


def _mistake(document: Document, said: str) -> Mistake:
    text, _, where = said.partition(" - at `$")
    path = tuple(name or int(index) for name, index in _STEP.findall(where))
    shown = where.rstrip("`").lstrip(".")
    return document.mistake(path, "environment-invalid", f"{shown}: {text}" if shown else text)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
