"""The stores on Google Cloud, or on its emulators where their addresses stand in the environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.api_core.exceptions import Conflict as AlreadyThere
from google.cloud.storage import Bucket

from apx.backends.gcp import emulators, firestore, names, objectives, pubsub
from apx.backends.gcp.audit import FirestoreAudit
from apx.backends.gcp.blobs import GcsBlobs
from apx.backends.gcp.bus import JournaledBus
from apx.backends.gcp.connection import unavailable
from apx.backends.gcp.documents import Documents
from apx.backends.gcp.iam import IamCredentials, this_process
from apx.backends.gcp.journal import Journal
from apx.backends.gcp.keys import FirestoreKeys
from apx.backends.gcp.members import FirestoreMembers
from apx.backends.gcp.objects import open_bucket
from apx.backends.gcp.orgs import FirestoreOrgs
from apx.backends.gcp.releases import GcsReleaseStore
from apx.backends.gcp.results import JournaledResults
from apx.backends.gcp.rollouts import FirestoreRollouts
from apx.backends.gcp.signing import open_signer
from apx.backends.gcp.usage import PubSubUsage
from apx.backends.gcp.webhooks import FirestoreWebhooks
from apx.backends.valkey.bus import ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.counts import ValkeyCounts
from apx.backends.valkey.leases import ValkeyLeases
from apx.backends.valkey.limits import ValkeyLimits
from apx.backends.valkey.notices import Notices
from apx.backends.valkey.results import ValkeyResults
from apx.bootstrap.outside import Backends
from apx.catalog.model import Catalog
from apx.clock import SystemClock
from apx.errors import Misconfigured, Unavailable
from apx.release.signing import Signer
from apx.release.store import ReleaseStore
from apx.rollout.active import RolloutStore
from apx.rollout.objectives import DayObjectives, Fallback, Objectives
from apx.settings import Settings
from apx.usage.events import READERS
from apx.webhooks.model import PRODUCT as WEBHOOKS

WARM_TRIES = 10


@asynccontextmanager
async def backends(settings: Settings, lease_s: float) -> AsyncIterator[Backends]:
    """Connect to Pub/Sub, Firestore, Cloud Storage and the Valkey of this region; close them at the end."""
    project, region = _place(settings)
    credentials = IamCredentials(this_process) if settings.valkey_iam else None
    client = connect(settings.store_url, credentials=credentials)
    store = firestore.connect(project, names.database(region))
    live, counts = FirestoreRollouts(store), ValkeyCounts(client)
    day = DayObjectives(counts, live.now_ms)
    async with pubsub.connect(region) as clients, objectives_of(project, day) as budgets:
        notices = Notices(client)
        lanes = ValkeyBus(client, notices=notices, lease_s=lease_s, journaled=True)
        documents = Documents(store, SystemClock())
        cache = ValkeyResults(client, notices=notices, journaled=True)
        results = JournaledResults(cache, documents)
        usage = PubSubUsage(clients, project, region)
        bus = JournaledBus(lanes, Journal(clients, project, region), documents, results, usage)
        try:
            yield Backends(
                keys=FirestoreKeys(store),
                rollouts=live,
                bus=bus,
                results=results,
                blobs=GcsBlobs(_bucket(project, region)),
                releases=release_store(settings),
                counts=counts,
                objectives=budgets,
                leases=ValkeyLeases(client),
                limits=ValkeyLimits(client),
                audit=FirestoreAudit(store),
                orgs=FirestoreOrgs(store),
                members=FirestoreMembers(store),
                webhooks=FirestoreWebhooks(store),
                ended=PubSubUsage(clients, project, region, "webhooks"),
            )
        finally:
            await bus.aclose()
            await results.aclose()
            await client.aclose()
            await firestore.close(store)


@asynccontextmanager
async def objectives_of(project: str, day: Objectives) -> AsyncIterator[Objectives]:
    """Read budgets from Cloud Monitoring, and the day's where it is away; on emulators nobody takes metrics in."""
    if emulators.FIRESTORE in os.environ:
        yield day
        return
    async with objectives.connect(project) as opened:
        yield Fallback(opened, day, SystemClock())


@asynccontextmanager
async def rollouts(settings: Settings) -> AsyncIterator[RolloutStore]:
    """Connect to what is live."""
    project, region = _place(settings)
    store = firestore.connect(project, names.database(region))
    try:
        yield FirestoreRollouts(store)
    finally:
        await firestore.close(store)


def release_store(settings: Settings) -> ReleaseStore:
    """Return where releases are kept."""
    return GcsReleaseStore(_bucket(*_place(settings)))


def signer(settings: Settings) -> Signer:
    """Return what signs with the key in Cloud KMS. Raises `Misconfigured`, `Unavailable`."""
    return open_signer(settings.gcp_signing_key)


def trusted(settings: Settings) -> dict[str, Ed25519PublicKey]:
    """Return the public halves of the keys in Cloud KMS. Raises `Misconfigured`, `Unavailable`."""
    versions = [settings.gcp_signing_key, *filter(None, settings.gcp_trusted_keys.split(","))]
    opened = [open_signer(version.strip()) for version in versions]
    return {one.key_id: one.public_key for one in opened}


async def furnish(settings: Settings, catalog: Catalog) -> None:
    """Make on emulators what the stacks make in the cloud: the journals, the readers of usage, and the bucket."""
    project, region = _place(settings)
    with unavailable("making the bucket"), suppress(AlreadyThere):
        await asyncio.to_thread(_bucket(project, region).create)
    async with pubsub.connect(region) as clients:
        journal = Journal(clients, project, region)
        for name, product in catalog.products.items():
            if product.spec.mode == "async":
                await journal.create(name)
        await journal.create(WEBHOOKS)
        for reader in READERS:
            await PubSubUsage(clients, project, region, reader).create()
    await _warm(settings)


async def _warm(settings: Settings) -> None:
    """Ask a Firestore that has just started until it answers: its first answers take seconds, and many will ask."""
    async with rollouts(settings) as store:
        for _ in range(WARM_TRIES):
            with suppress(Unavailable):
                await store.read()
                await store.history("nothing")
                return


def _bucket(project: str, region: str) -> Bucket:
    return _opened(project, region, os.environ.get(emulators.STORAGE, ""))


@cache
def _opened(project: str, region: str, _emulator: str) -> Bucket:
    """One client for a process; for its tests, one for each emulator."""
    return open_bucket(project, names.bucket(project, region))


def _place(settings: Settings) -> tuple[str, str]:
    for name in ("gcp_project", "gcp_region"):
        if not getattr(settings, name):
            raise Misconfigured(f"APX_BACKENDS=gcp needs APX_{name.upper()}")
    return settings.gcp_project, settings.gcp_region
