"""Which stores a process has: Valkey and files, or Google's: Pub/Sub, Firestore, Cloud Storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from apx.backends.files.blobs import FileBlobs
from apx.backends.files.releases import FileReleaseStore
from apx.backends.files.signing import KeyFolder, ensure_secret, read_secret, read_trusted
from apx.backends.valkey.audit import ValkeyAudit
from apx.backends.valkey.bus import LEASE_S, ValkeyBus
from apx.backends.valkey.connection import connect
from apx.backends.valkey.counts import ValkeyCounts
from apx.backends.valkey.keys import ValkeyKeys
from apx.backends.valkey.leases import ValkeyLeases
from apx.backends.valkey.limits import ValkeyLimits
from apx.backends.valkey.members import ValkeyMembers
from apx.backends.valkey.notices import Notices
from apx.backends.valkey.orgs import ValkeyOrgs
from apx.backends.valkey.results import ValkeyResults
from apx.backends.valkey.rollouts import ValkeyRollouts
from apx.backends.valkey.usage import ValkeyUsage
from apx.backends.valkey.webhooks import ValkeyWebhooks
from apx.bootstrap.outside import Backends
from apx.release.signing import Signer
from apx.release.store import ReleaseStore
from apx.rollout.active import RolloutStore
from apx.rollout.objectives import DayObjectives
from apx.settings import Settings


@asynccontextmanager
async def backends(settings: Settings, *, lease_s: float = LEASE_S) -> AsyncIterator[Backends]:
    """Connect to the stores; close the connections at the end. A silent worker loses its lanes after `lease_s`."""
    if settings.backends == "gcp":
        from apx.bootstrap import google  # noqa: PLC0415 -- half a second and 60 MB that only Google's clients need

        async with google.backends(settings, lease_s) as opened:
            yield opened
        return
    client = connect(settings.store_url)
    notices = Notices(client)
    live, counts = ValkeyRollouts(client), ValkeyCounts(client)
    bus, results = ValkeyBus(client, notices=notices, lease_s=lease_s), ValkeyResults(client, notices=notices)
    try:
        yield Backends(
            keys=ValkeyKeys(client),
            rollouts=live,
            bus=bus,
            results=results,
            blobs=FileBlobs(settings.home / "blobs"),
            releases=release_store(settings),
            counts=counts,
            objectives=DayObjectives(counts, live.now_ms),
            leases=ValkeyLeases(client),
            limits=ValkeyLimits(client),
            audit=ValkeyAudit(client),
            orgs=ValkeyOrgs(client),
            members=ValkeyMembers(client),
            webhooks=ValkeyWebhooks(client),
            ended=ValkeyUsage(client, "webhooks"),
        )
    finally:
        await bus.aclose()
        await results.aclose()
        await client.aclose()


@asynccontextmanager
async def rollouts(settings: Settings) -> AsyncIterator[RolloutStore]:
    """Connect to what is live, for a process that needs nothing else."""
    if settings.backends == "gcp":
        from apx.bootstrap import google  # noqa: PLC0415 -- as above

        async with google.rollouts(settings) as opened:
            yield opened
        return
    client = connect(settings.store_url)
    try:
        yield ValkeyRollouts(client)
    finally:
        await client.aclose()


def release_store(settings: Settings) -> ReleaseStore:
    """Return where releases are kept."""
    if settings.backends == "gcp":
        from apx.bootstrap import google  # noqa: PLC0415 -- as above

        return google.release_store(settings)
    return FileReleaseStore(settings.home / "releases")


def signer(settings: Settings) -> Signer:
    """Return what signs releases: the key in Cloud KMS, else the pair in the home. Raises `Misconfigured`."""
    if settings.gcp_signing_key:
        from apx.bootstrap import google  # noqa: PLC0415 -- as above

        return google.signer(settings)
    return key_folder(settings).signer()


def trusted(settings: Settings) -> dict[str, Ed25519PublicKey]:
    """Return the keys that releases are trusted by: a folder's, else Cloud KMS's, else the home's.

    Raises `Misconfigured`, and `Unavailable` where KMS does not answer.
    """
    if settings.trusted_keys is not None:
        return read_trusted(settings.trusted_keys)
    if settings.gcp_signing_key:
        from apx.bootstrap import google  # noqa: PLC0415 -- as above

        return google.trusted(settings)
    return key_folder(settings).trusted()


def key_folder(settings: Settings) -> KeyFolder:
    """Return the home's folder of signing keys, with a pair in it."""
    folder = KeyFolder(settings.home / "keys")
    folder.ensure()
    return folder


def secret(settings: Settings, name: str) -> bytes:
    """Return one of the installation's secrets: from the folder given, else the home's, made on first use."""
    if settings.secrets is None:
        return ensure_secret(settings.home / "keys" / name)
    return read_secret(settings.secrets / name)
