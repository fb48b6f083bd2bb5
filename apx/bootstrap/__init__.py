"""The only place that chooses adapters from settings."""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from apx.admission.admit import LiveProduct, Record
from apx.admission.assertions import Assertions, KeyCache, Roles
from apx.admission.operators import Operators
from apx.admission.recorder import Recorder
from apx.audit.checkpoint import Seals
from apx.audit.record import By
from apx.backends.files.samples import FileSamples, RecordedInputs
from apx.backends.git.commits import Commits
from apx.backends.http.client import HttpBackendClient
from apx.backends.http.connect_to import parse_connect_to
from apx.bootstrap.githost import git_host
from apx.bootstrap.outside import Backends
from apx.bootstrap.served import Served
from apx.bootstrap.stores import (
    backends,
    key_folder,
    release_store,
    rollouts,
    secret,
    signer,
    trusted,
)
from apx.bootstrap.usage import Usage, usage
from apx.catalog.model import ProductSpec
from apx.clock import Clock, SystemClock
from apx.limits.store import LimitStore
from apx.policy.evaluate import Evaluator
from apx.policy.opa import Opa
from apx.policy.shared import SharedPolicies
from apx.release.build import Builder, Drafter
from apx.release.load import Loader
from apx.release.model import Manifest, Release
from apx.requests.execution_call import BackendClient
from apx.requests.model import Envelope
from apx.requests.ports import BlobStore, Bus, ProductBounds, ResultStore
from apx.requests.receipt import Receipts
from apx.requests.specs import ReleasedSpecs, Terms
from apx.rollout.active import RolloutStore
from apx.rollout.arms import Arms
from apx.rollout.controller import Controller
from apx.rollout.counts import Tally, Writer
from apx.rollout.follow import Follower
from apx.rollout.testers import ArmTokens
from apx.settings import GitSettings, Settings
from apx.webhooks.forward import Dispatcher
from apx.webhooks.health import Health
from apx.webhooks.manage import Webhooks
from apx.webhooks.news import News
from apx.webhooks.signing import Vault
from apx.webhooks.terms import Deliveries

__all__ = ["Backends", "Usage", "backends", "git_host", "key_folder", "release_store", "signer", "usage"]

T = TypeVar("T")
CLOCK: Clock = SystemClock()


@asynccontextmanager
async def backend_client(settings: Settings, connections: int) -> AsyncIterator[BackendClient]:
    """Open the client that calls products' backends, over at most so many connections."""
    async with HttpBackendClient(connect_to=parse_connect_to(settings.connect_to), connections=connections) as client:
        yield client


def loader(settings: Settings) -> Loader:
    """Return what lets verified releases through. Raises `Misconfigured`."""
    return Loader(release_store(settings), trusted(settings))


def builder(settings: Settings, annotations: dict[str, str]) -> Builder:
    """Return what builds releases. Raises `Misconfigured`."""
    return Builder(
        opa=Opa.find(),
        store=release_store(settings),
        signer=signer(settings),
        cache_dir=settings.home / "cache" / "policies",
        clock=CLOCK,
        annotations=annotations,
    )


def drafter(settings: Settings) -> Drafter:
    """Return what makes releases in memory, to look at what they would do. Raises `Misconfigured`."""
    return Drafter(Opa.find(), settings.home / "cache" / "policies")


def commits(folder: Path) -> Commits:
    """Return the commits of the repository that holds a folder."""
    return Commits(folder)


def recorder(settings: Settings) -> Recorder:
    """Return what records a sample of this process's decisions."""
    return Recorder(FileSamples(settings.home / "samples"), CLOCK, random.random)


def recorded(settings: Settings, files: Sequence[Path] = ()) -> RecordedInputs:
    """Return the recorded inputs: those in the files, else this home's. Raises `NotFound`, `Unavailable`."""
    return RecordedInputs(settings.home / "samples", files)


def receipts(settings: Settings, region: str) -> Receipts:
    """Return what mints and verifies receipts, under a secret that all routers of this home share."""
    return Receipts([secret(settings, "receipts")], region)


def count_writer(backends: Backends, kind: str, tally: Tally) -> Writer:
    """Return what writes this process's counts."""
    return Writer(backends.counts, f"{kind}-{socket.gethostname()}-{os.getpid()}", tally, clock=CLOCK)


def arm_tokens(settings: Settings) -> ArmTokens:
    """Return what mints and reads the tokens by which testers choose an arm."""
    return ArmTokens(secret(settings, "arms"))


def admin_token(settings: Settings) -> str:
    """Return the token that the control API asks for, made on first use."""
    return "apxadm_" + secret(settings, "admin-token").hex()


def operators(settings: Settings) -> Operators:
    """Return what mints and reads the tokens of the control API."""
    return Operators(secret(settings, "control-tokens"), CLOCK)


def vault(settings: Settings) -> Vault:
    """Return what seals the secrets of webhooks, for those who make them and for workers."""
    return Vault(secret(settings, "webhooks"))


def dispatcher(outside: Backends) -> Dispatcher:
    """Return what queues deliveries to webhooks."""
    return Dispatcher(outside.webhooks, outside.bus, CLOCK)


def news(outside: Backends, told: Dispatcher) -> News:
    """Return what tells orgs of their budgets and of rollouts."""
    return News(told, outside.keys, CLOCK)


def by_itself(outside: Backends) -> Backends:
    """Return the stores whose changes are recorded as made by APX itself."""
    return outside.by(By(actor="apx", source="control"))


def health(outside: Backends, told: Dispatcher) -> Health:
    """Return what disables the webhooks of dead receivers."""
    return Health(by_itself(outside).webhooks, outside.bus, told, CLOCK)


def webhooks(settings: Settings, outside: Backends) -> Webhooks:
    """Return what makes and changes webhooks."""
    return Webhooks(
        outside.webhooks,
        vault(settings),
        outside.bus,
        CLOCK,
        os.urandom,
        loopback=settings.webhook_loopback,
    )


def assertions(audience: str, roles: Roles) -> Assertions:
    """Return what reads the assertions of Google's identity-aware proxy."""
    from apx.backends.gcp.iap import fetch_keys  # noqa: PLC0415 -- Google's clients, which only this needs

    return Assertions(audience, roles, KeyCache(fetch_keys, CLOCK), CLOCK)


def operator() -> str:
    """Return the name of who runs this process, for the history; a container may give its user no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def person() -> By:
    """Return who runs this process, and on which machine: what the CLI does is recorded so."""
    return By(actor=operator(), source=socket.gethostname())


def seals(settings: Settings) -> Seals:
    """Return what countersigns the audit log, under a secret that only the control process and operators hold."""
    return Seals(secret(settings, "control-tokens"))


def follower(
    settings: Settings,
    store: RolloutStore,
    process: str,
    prepare: Callable[[Release], T],
    retire: Callable[[T], None] = lambda _: None,
) -> Follower[T]:
    """Return what keeps a process's releases as the store says."""
    return Follower(
        store,
        loader(settings),
        prepare=prepare,
        retire=retire,
        last_known_good=settings.home / "state" / f"{process}.json",
        clock=CLOCK,
    )


def controller(settings: GitSettings, outside: Backends) -> Controller:
    """Return what moves rollouts on."""
    return Controller(
        outside.rollouts,
        outside.counts,
        outside.releases,
        loader(settings),
        git_host(settings),
        gitops_root=settings.gitops_root,
    )


def live_product(settings: Settings, record: Record) -> Callable[[Release], LiveProduct]:
    """Return what makes a release ready to serve in the router; its decisions are handed to `record`."""
    cache_dir: Path = settings.home / "cache" / "modules"
    policies = SharedPolicies(
        lambda wasm, data, pure: Evaluator(wasm, data, pure=pure, clock=CLOCK, cache_dir=cache_dir)
    )

    def prepare(release: Release) -> LiveProduct:
        policy = policies.take(release.wasm, release.data, pure=release.manifest.policy.pure)
        return LiveProduct(release, policy, record)

    return prepare


@dataclass
class WorkerParts:
    """What a worker is made of."""

    bus: Bus
    results: ResultStore
    blobs: BlobStore
    client: BackendClient
    terms: Callable[[Envelope], Awaitable[Terms]]
    tally: Tally
    limits: LimitStore
    bounds: Callable[[], Sequence[ProductBounds]]
    cancellations: Callable[[], AsyncIterator[str]] | None


@asynccontextmanager
async def worker_parts(settings: Settings, *, lease_s: float, connections: int) -> AsyncIterator[WorkerParts]:
    """Connect a worker, and follow the live releases as long as it works."""
    async with backends(settings, lease_s=lease_s) as outside, backend_client(settings, connections) as client:
        specs, tally = ReleasedSpecs(loader(settings)), Tally()
        deliveries = Deliveries(outside.webhooks, vault(settings), CLOCK, loopback=settings.webhook_loopback)
        served = Served(specs, deliveries)
        follow = follower(settings, outside.rollouts, "worker", prepare=lambda release: release.manifest.spec)
        beside = [
            asyncio.create_task(_follow_specs(follow, specs)),
            asyncio.create_task(count_writer(outside, "worker", tally).run()),
            asyncio.create_task(deliveries.run()),
        ]
        try:
            yield WorkerParts(
                bus=outside.bus,
                results=outside.results,
                blobs=outside.blobs,
                client=client,
                terms=served.terms,
                tally=tally,
                limits=outside.limits,
                bounds=served.bounds,
                cancellations=outside.bus.cancellations,
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)


async def _follow_specs(follow: Follower[ProductSpec], specs: ReleasedSpecs) -> None:
    async for serving in follow.changes():
        specs.serve(serving)


async def follow_releases(settings: Settings) -> AsyncIterator[Sequence[Arms[Manifest]]]:
    """Yield the manifests of the live releases now and after each change, for the edge."""
    async with rollouts(settings) as store:
        follow = follower(settings, store, "edge", prepare=lambda release: release.manifest)
        async for serving in follow.changes():
            yield [serving[name] for name in sorted(serving)]
