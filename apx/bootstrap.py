"""The only place that chooses adapters from settings."""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from apx.admission.admit import LiveProduct, Record
from apx.admission.keys import KeyStore
from apx.admission.operators import Operators
from apx.admission.recorder import Recorder
from apx.backends.files.blobs import FileBlobs
from apx.backends.files.releases import FileReleaseStore
from apx.backends.files.samples import FileSamples, RecordedInputs
from apx.backends.files.signing import KeyFolder, ensure_secret
from apx.backends.git.commits import Commits
from apx.backends.git.githost import LocalGit
from apx.backends.http.client import HttpBackendClient
from apx.backends.http.connect_to import parse_connect_to
from apx.backends.valkey.bus import LEASE_S, ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.counts import ValkeyCounts
from apx.backends.valkey.keys import ValkeyKeys
from apx.backends.valkey.leases import ValkeyLeases
from apx.backends.valkey.notices import Notices
from apx.backends.valkey.results import ValkeyResults
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.catalog.model import ProductSpec
from apx.clock import Clock, SystemClock
from apx.errors import Misconfigured
from apx.policy.evaluate import Evaluator
from apx.policy.opa import Opa
from apx.policy.shared import SharedPolicies
from apx.release.build import Builder, Drafter
from apx.release.load import Loader
from apx.release.model import Manifest, Release
from apx.release.store import ReleaseStore
from apx.requests.execution_call import BackendClient
from apx.requests.model import Envelope
from apx.requests.ports import BlobStore, Bus, ProductBounds, ResultStore
from apx.requests.receipt import Receipts
from apx.requests.specs import ReleasedSpecs, Terms
from apx.rollout.active import Leases, RolloutStore
from apx.rollout.arms import Arms
from apx.rollout.controller import Controller
from apx.rollout.counts import CountStore, Tally, Writer
from apx.rollout.follow import Follower
from apx.rollout.githost import GitHost
from apx.rollout.testers import ArmTokens
from apx.settings import GitSettings, Settings

T = TypeVar("T")
CLOCK: Clock = SystemClock()


class Backends(msgspec.Struct, frozen=True):
    """Everything outside this process, behind its ports."""

    keys: KeyStore
    rollouts: RolloutStore
    bus: Bus
    results: ResultStore
    blobs: BlobStore
    releases: ReleaseStore
    counts: CountStore
    leases: Leases


@asynccontextmanager
async def backends(settings: Settings, *, lease_s: float = LEASE_S) -> AsyncIterator[Backends]:
    """Connect to the store; close the connections at the end. A silent worker loses its lanes after `lease_s`."""
    client = connect(settings.store_url)
    notices = Notices(client)
    bus, results = ValkeyBus(client, notices=notices, lease_s=lease_s), ValkeyResults(client, notices=notices)
    try:
        yield Backends(
            keys=ValkeyKeys(client),
            rollouts=ValkeyRollouts(client),
            bus=bus,
            results=results,
            blobs=FileBlobs(settings.home / "blobs"),
            releases=release_store(settings),
            counts=ValkeyCounts(client),
            leases=ValkeyLeases(client),
        )
    finally:
        await bus.aclose()
        await results.aclose()
        await client.aclose()


@asynccontextmanager
async def backend_client(settings: Settings, connections: int) -> AsyncIterator[BackendClient]:
    """Open the client that calls products' backends, over at most so many connections."""
    async with HttpBackendClient(connect_to=parse_connect_to(settings.connect_to), connections=connections) as client:
        yield client


def release_store(settings: Settings) -> ReleaseStore:
    """Return where releases are kept."""
    return FileReleaseStore(settings.home / "releases")


def key_folder(settings: Settings) -> KeyFolder:
    """Return the folder of signing keys, with a pair in it."""
    folder = KeyFolder(settings.home / "keys")
    folder.ensure()
    return folder


def loader(settings: Settings) -> Loader:
    """Return what lets verified releases through. Raises `Misconfigured`."""
    return Loader(release_store(settings), key_folder(settings).trusted())


def builder(settings: Settings, annotations: dict[str, str]) -> Builder:
    """Return what builds releases. Raises `Misconfigured`."""
    return Builder(
        opa=Opa.find(),
        store=release_store(settings),
        signer=key_folder(settings).signer(),
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
    return Receipts([ensure_secret(settings.home / "keys" / "receipts")], region)


def count_writer(backends: Backends, kind: str, tally: Tally) -> Writer:
    """Return what writes this process's counts."""
    return Writer(backends.counts, f"{kind}-{socket.gethostname()}-{os.getpid()}", tally, clock=CLOCK)


def arm_tokens(settings: Settings) -> ArmTokens:
    """Return what mints and reads the tokens by which testers choose an arm."""
    return ArmTokens(ensure_secret(settings.home / "keys" / "arms"))


def admin_token(settings: Settings) -> str:
    """Return the token that the control API asks for, made on first use."""
    return "apxadm_" + ensure_secret(settings.home / "keys" / "admin-token").hex()


def operators(settings: Settings) -> Operators:
    """Return what mints and reads the tokens of the control API."""
    return Operators(ensure_secret(settings.home / "keys" / "control-tokens"), CLOCK)


def operator() -> str:
    """Return the name of who runs this process, for the history; a container may give its user no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def git_host(settings: GitSettings) -> GitHost | None:
    """Return where reverts are opened; None when no repository is named. Raises `Misconfigured`."""
    if settings.git_repository and settings.github_repository:
        raise Misconfigured(
            "APX_GIT_REPOSITORY and APX_GITHUB_REPOSITORY are both set: reverts are opened in one place"
        )
    if settings.git_repository:
        return LocalGit(
            Path(settings.git_repository),
            main=settings.git_main,
            merge=settings.git_merge,
            name=settings.git_name,
            email=settings.git_email,
        )
    return _github(settings) if settings.github_repository else None


def _github(settings: GitSettings) -> GitHost:
    name = settings.github_repository
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name):
        raise Misconfigured(f"APX_GITHUB_REPOSITORY={name!r}: give owner/name")
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", settings.github_url):
        raise Misconfigured(
            f"APX_GITHUB_URL={settings.github_url!r}: the token is sent there, so it has to be https://"
        )
    if settings.git_merge:
        raise Misconfigured("APX_GIT_MERGE is for a bare repository on this machine: on GitHub people merge")
    path = Path(settings.github_token_file)
    if not settings.github_token_file:
        raise Misconfigured("APX_GITHUB_TOKEN_FILE is not set: name the file that holds the token")
    from apx.backends.github.githost import GitHub  # noqa: PLC0415 -- 0.1 s and 33 MB that only this needs

    return GitHub(name, lambda: _token(path), clock=CLOCK, url=settings.github_url, main=settings.git_main)


def _token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"APX_GITHUB_TOKEN_FILE={str(path)!r} cannot be read: {type(error).__name__}") from None
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise Misconfigured(f"APX_GITHUB_TOKEN_FILE={str(path)!r} has to hold one token and nothing else")
    return token


def follower(
    settings: Settings,
    rollouts: RolloutStore,
    process: str,
    prepare: Callable[[Release], T],
    retire: Callable[[T], None] = lambda _: None,
) -> Follower[T]:
    """Return what keeps a process's releases as the store says."""
    return Follower(
        rollouts,
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
    bounds: Callable[[], Sequence[ProductBounds]]
    cancellations: Callable[[], AsyncIterator[str]] | None


@asynccontextmanager
async def worker_parts(settings: Settings, *, lease_s: float, connections: int) -> AsyncIterator[WorkerParts]:
    """Connect a worker, and follow the live releases as long as it works."""
    async with backends(settings, lease_s=lease_s) as outside, backend_client(settings, connections) as client:
        specs, tally = ReleasedSpecs(loader(settings)), Tally()
        follow = follower(settings, outside.rollouts, "worker", prepare=lambda release: release.manifest.spec)
        beside = [
            asyncio.create_task(_follow_specs(follow, specs)),
            asyncio.create_task(count_writer(outside, "worker", tally).run()),
        ]
        try:
            yield WorkerParts(
                bus=outside.bus,
                results=outside.results,
                blobs=outside.blobs,
                client=client,
                terms=specs.terms,
                tally=tally,
                bounds=specs.bounds,
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
    client = connect(settings.store_url)
    try:
        follow = follower(settings, ValkeyRollouts(client), "edge", prepare=lambda release: release.manifest)
        async for serving in follow.changes():
            yield [serving[name] for name in sorted(serving)]
    finally:
        await client.aclose()
