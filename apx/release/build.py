"""Build releases: compile the policy, run its tests, put spec, plans and policy together, sign, store.

The same tree and the same compiler give the same digest on any machine: the manifest holds no time, no path, no commit.
The commit is an annotation beside the signed content, so that a commit that does not touch a product does not make a
new release of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from apx.catalog.model import Catalog, Product
from apx.clock import Clock
from apx.errors import InvalidCatalog, PolicyRejected
from apx.policy.capabilities import capabilities_digest
from apx.policy.compile import CompiledPolicy, compile_policy
from apx.policy.opa import Opa
from apx.policy.test import PolicyTestReport, run_tests_cached
from apx.release.digest import blob_of, canonical, digest_of
from apx.release.model import PAYLOAD_TYPE, Compiler, Manifest, PolicyArtifact, Release, TestReport
from apx.release.signing import Signer, holds, seal
from apx.release.store import Listed, ReleaseStore

T = TypeVar("T")


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One release as it was built and stored."""

    product: str
    digest: str
    new: bool
    """The store did not have it yet."""


class Builder:
    """Builds releases of a catalog's products."""

    def __init__(
        self,
        *,
        opa: Opa,
        store: ReleaseStore,
        signer: Signer,
        cache_dir: Path,
        clock: Clock,
        annotations: Mapping[str, str],
    ) -> None:
        self._drafter = Drafter(opa, cache_dir)
        self._store = store
        self._signer = signer
        self._clock = clock
        self._annotations = dict(annotations)

    async def build(self, catalog: Catalog, products: Iterable[str] | None = None) -> AsyncIterator[Built]:
        """Yield each release once it is stored.

        Everything is compiled and tested before the first one is stored: a broken tree changes nothing.
        Raises `PolicyRejected` with all that is wrong, `InvalidCatalog` for an unknown product, `Unavailable`.
        """
        drafts = await self._drafter.draft(catalog, products)
        known = {listed.digest async for listed in self._store.list_releases()}
        for release in drafts:
            yield await self._put(release, known)

    async def _put(self, release: Release, known: set[str]) -> Built:
        manifest, digest = release.manifest, release.digest
        payload = canonical(manifest)
        await self._store.put_blob(manifest.policy.wasm.digest, release.wasm)  # mends what was damaged, too
        await self._store.put_blob(manifest.policy.data.digest, release.data)
        if manifest.openapi is not None and release.openapi is not None:
            await self._store.put_blob(manifest.openapi.digest, release.openapi)
        if digest in known and holds(await self._store.get_release(digest), payload, self._signer.key_id):
            return Built(product=manifest.product, digest=digest, new=False)
        listed = Listed(
            digest=digest, product=manifest.product, stored_at=self._clock.time(), annotations=self._annotations
        )
        await self._store.put_release(listed, seal(PAYLOAD_TYPE, payload, self._signer))
        return Built(product=manifest.product, digest=digest, new=digest not in known)


class Drafter:
    """Makes releases of a catalog's products in memory: compiled and tested, not signed and not stored."""

    def __init__(self, opa: Opa, cache_dir: Path) -> None:
        self._opa = opa
        self._cache_dir = cache_dir

    async def draft(self, catalog: Catalog, products: Iterable[str] | None = None) -> list[Release]:
        """Return the releases, sorted by product. Raises `PolicyRejected` with all that is wrong, `InvalidCatalog`."""
        wanted = _wanted(catalog, products)
        policies = Path(catalog.root) / "policies"
        packages = sorted({product.spec.policy.package for product in wanted})
        compiled = await self._each(packages, self._compile_one(policies))
        reports = await self._each(packages, self._test_one(policies))
        compiler = Compiler(opa=self._opa.version(), capabilities=capabilities_digest())
        return [_release(catalog, product, compiled, reports, compiler) for product in wanted]

    async def _each(self, packages: list[str], work: Callable[[str], T]) -> dict[str, T]:
        """Do one thing for each package, as many at a time as there are processors; raise all that is wrong at once."""
        gate = asyncio.Semaphore(os.cpu_count() or 1)

        async def one(package: str) -> T:
            async with gate:
                return await asyncio.to_thread(work, package)

        results = await asyncio.gather(*map(one, packages), return_exceptions=True)
        unexpected = [r for r in results if isinstance(r, BaseException) and not isinstance(r, PolicyRejected)]
        if unexpected:
            raise unexpected[0]
        errors = [str(result) for result in results if isinstance(result, PolicyRejected)]
        if errors:
            raise PolicyRejected("\n".join(errors))
        return {n: r for n, r in zip(packages, results, strict=True) if not isinstance(r, BaseException)}

    def _compile_one(self, policies: Path) -> Callable[[str], CompiledPolicy]:
        return lambda package: compile_policy(self._opa, policies, package, cache_dir=self._cache_dir)

    def _test_one(self, policies: Path) -> Callable[[str], PolicyTestReport]:
        """Run a package's tests; a release of a policy without tests that pass is not built."""

        def test(package: str) -> PolicyTestReport:
            report = run_tests_cached(self._opa, policies, package, self._cache_dir)
            if report.failed:
                raise PolicyRejected("\n".join(map(str, report.failed)))
            if not report.passed:
                raise PolicyRejected(
                    f"{policies}: package {package} has no tests: write some in a *_test.rego file beside it"
                )
            return report

        return test


def _wanted(catalog: Catalog, products: Iterable[str] | None) -> list[Product]:
    if products is None:
        return [catalog.products[name] for name in sorted(catalog.products)]
    names = sorted(set(products))
    unknown = [name for name in names if name not in catalog.products]
    if unknown:
        known = ", ".join(sorted(catalog.products))
        raise InvalidCatalog(f"no product {', '.join(map(repr, unknown))} in {catalog.root}; there are: {known}")
    return [catalog.products[name] for name in names]


def _release(
    catalog: Catalog,
    product: Product,
    compiled: Mapping[str, CompiledPolicy],
    reports: Mapping[str, PolicyTestReport],
    compiler: Compiler,
) -> Release:
    policy = compiled[product.spec.policy.package]
    manifest = _manifest(catalog, product, policy, reports[policy.package], compiler)
    return Release(
        digest=digest_of(canonical(manifest)),
        manifest=manifest,
        wasm=policy.wasm,
        data=policy.data,
        openapi=product.openapi,
    )


def _manifest(
    catalog: Catalog, product: Product, policy: CompiledPolicy, report: PolicyTestReport, compiler: Compiler
) -> Manifest:
    return Manifest(
        product=product.name,
        spec=product.spec,
        plans={name: catalog.plans[name].spec for name in product.spec.plans},
        policy=PolicyArtifact(
            package=policy.package, wasm=blob_of(policy.wasm), data=blob_of(policy.data), pure=policy.pure
        ),
        compiler=compiler,
        tests=TestReport(passed=report.passed, coverage_percent=report.coverage_percent),
        openapi=blob_of(product.openapi) if product.openapi is not None else None,
    )
