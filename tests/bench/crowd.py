"""Seeds a platform with many products, orgs and keys without building each: they share one policy and its tests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec

from apx import bootstrap
from apx.admission.keys import KeyRecord, mint, sha256_of
from apx.bootstrap import Backends
from apx.catalog.load import load_catalog
from apx.local.parts import prepare
from apx.local.settings import LocalSettings
from apx.release.digest import canonical, digest_of
from apx.release.model import PAYLOAD_TYPE, Manifest
from apx.release.signing import Signer, seal
from apx.release.store import Listed
from apx.rollout.active import Active, AuditEntry
from apx.settings import Settings

SYNC_EVERY = 10
"""One product in so many is proxied by the edge; the others are accepted by the router."""
AT_A_TIME = 32


class Seeded(msgspec.Struct, frozen=True):
    """What `Platform.start` wants of a seed."""

    keys: dict[str, str]
    admin_token: str


class Crowd:
    """So many products, each with an org and a key of its own; `keys` are the asynchronous ones', by product."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.keys: dict[str, str] = {}

    def prepare(self, settings: LocalSettings) -> None:
        """Store a release, an org's key and the live state of each product, before any process looks."""
        prepare(settings)
        asyncio.run(self._prepare(settings, settings.gitops))

    def seed(self, _: LocalSettings, __: Path, progress: Callable[[str], None]) -> Seeded:
        """Say what was prepared."""
        progress(f"{self._count} products")
        return Seeded(keys=self.keys, admin_token="")

    async def _prepare(self, settings: Settings, gitops: Path) -> None:
        builder = bootstrap.builder(settings, {})
        built = {one.product: one.digest async for one in builder.build(load_catalog(gitops))}
        loader, signer = bootstrap.loader(settings), bootstrap.key_folder(settings).signer()
        patterns = {name: await loader.manifest(digest) for name, digest in built.items()}
        async with bootstrap.backends(settings) as backends:
            await _few_at_a_time(self._one(number, patterns, signer, backends) for number in range(self._count))

    async def _one(self, number: int, patterns: dict[str, Manifest], signer: Signer, backends: Backends) -> None:
        sync = number % SYNC_EVERY == SYNC_EVERY - 1
        name = f"crowd-{number}"
        manifest = renamed(patterns["forecast" if sync else "orders"], name)
        await activate(manifest, signer, backends, revision=0)
        key = mint("bench", secrets.token_bytes)
        await backends.keys.put(
            KeyRecord(
                id=f"key_{number}",
                sha256=sha256_of(key),
                org=f"org-{number}",
                region="us",
                plans={name: "enterprise"},
                created_ms=int(bootstrap.CLOCK.time() * 1000),
            )
        )
        if not sync:
            self.keys[name] = key


def renamed(manifest: Manifest, product: str) -> Manifest:
    """Return the manifest as another product's."""
    spec = msgspec.structs.replace(manifest.spec, base_path=f"/{product}")
    return msgspec.structs.replace(manifest, product=product, spec=spec)


async def activate(manifest: Manifest, signer: Signer, backends: Backends, *, revision: int) -> str:
    """Sign and store a release, and make it live; return its digest."""
    payload = canonical(manifest)
    digest, now = digest_of(payload), bootstrap.CLOCK.time()
    listed = Listed(digest=digest, product=manifest.product, stored_at=now)
    await backends.releases.put_release(listed, seal(PAYLOAD_TYPE, payload, signer))
    audit = AuditEntry(
        at_ms=int(now * 1000), actor="bench", action="activate", product=manifest.product, before=None, after=digest
    )
    await backends.rollouts.change(Active(product=manifest.product, stable=digest, revision=revision), audit)
    return digest


async def _few_at_a_time(works: Iterable[Awaitable[None]]) -> None:
    left = iter(works)

    async def take_turns() -> None:
        for work in left:
            await work

    await asyncio.gather(*(take_turns() for _ in range(AT_A_TIME)))
