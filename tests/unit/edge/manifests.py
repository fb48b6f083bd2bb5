"""Manifests of products, as short as they can be."""

from __future__ import annotations

from typing import Any

from apx.catalog.model import Auth, Backend, Jwt, Mode, PolicyRef, ProductSpec, Route
from apx.release.digest import canonical, digest_of
from apx.release.model import Blob, Compiler, Manifest, PolicyArtifact, TestReport
from apx.rollout.active import Active
from apx.rollout.arms import Arms
from apx.rollout.model import Rollout

_BLOB = Blob(digest="sha256:00", size_bytes=0)
EVERYTHING = (Route(path="/"), Route(path="/{rest=**}"))


def manifest(
    name: str,
    *,
    mode: Mode = "sync",
    url: str = "http://127.0.0.1:9",
    base_path: str | None = None,
    routes: tuple[Route, ...] = EVERYTHING,
    jwt: Jwt | None = None,
    **backend: Any,
) -> Manifest:
    spec = ProductSpec(
        title=name,
        owner="team",
        base_path=base_path or f"/{name}",
        mode=mode,
        backend=Backend(url=url, **({"allow_private": True} | backend)),
        routes=routes,
        auth=Auth(jwt=jwt),
        policy=PolicyRef(package="products.test"),
        plans=("free",),
    )
    return Manifest(
        product=name,
        spec=spec,
        plans={},
        policy=PolicyArtifact(package="products.test", wasm=_BLOB, data=_BLOB, pure=True),
        compiler=Compiler(opa="1", capabilities="00"),
        tests=TestReport(passed=1, coverage_percent=100),
    )


def served(*products: Manifest | tuple[Manifest, Manifest]) -> list[Arms[Manifest]]:
    """Return what is live: of each product the stable release, or that and its candidate."""
    return [_arms(*product) if isinstance(product, tuple) else _arms(product) for product in products]


def digest(manifest: Manifest) -> str:
    return digest_of(canonical(manifest))


def _arms(stable: Manifest, candidate: Manifest | None = None) -> Arms[Manifest]:
    rollout = None
    if candidate is not None:
        rollout = Rollout(id="r1", candidate=digest(candidate), stable=digest(stable), spec=candidate.spec.rollout)
    active = Active(product=stable.product, stable=digest(stable), rollout=rollout)
    return Arms(active=active, stable=stable, stable_digest=digest(stable), candidate=candidate)
