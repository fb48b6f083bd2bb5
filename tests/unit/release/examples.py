"""Releases made up for tests: signed by a key of the test's own, with a policy that is bytes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from apx.backends.files.releases import FileReleaseStore
from apx.catalog.model import Async, Auth, Backend, Jwt, PlanSpec, PolicyRef, ProductSpec, Rate, Route
from apx.release.digest import blob_of, canonical, digest_of
from apx.release.model import PAYLOAD_TYPE, Compiler, Manifest, PolicyArtifact, Release, TestReport
from apx.release.signing import LocalSigner, key_id, seal
from apx.release.store import Listed

WASM, DATA = b"\0asm-not-really", b"{}"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = LocalSigner(KEY)
TRUSTED = {key_id(KEY.public_key()): KEY.public_key()}
FREE = PlanSpec(title="Free", rate=Rate(per_second=100, burst=1000))
JWT = Auth(jwt=Jwt(issuer="https://issuer.example", audiences=("orders",), jwks="{}"))


def spec(**changes: Any) -> ProductSpec:
    fields: dict[str, Any] = {
        "title": "Orders",
        "owner": "team",
        "base_path": "/orders",
        "mode": "async",
        "backend": Backend(url="http://backend.example"),
        "routes": (Route(path="/", methods=("GET", "POST")), Route(path="/{id}", methods=("GET", "HEAD"))),
        "policy": PolicyRef(package="products.orders"),
        "plans": ("free",),
        "async_": Async(),
    }
    return ProductSpec(**{**fields, **changes})


def manifest(
    product: str = "orders", of: ProductSpec | None = None, plans: dict[str, PlanSpec] | None = None, wasm: bytes = WASM
) -> Manifest:
    return Manifest(
        product=product,
        spec=of or spec(base_path=f"/{product}"),
        plans=plans or {"free": FREE},
        policy=PolicyArtifact(package="products.orders", wasm=blob_of(wasm), data=blob_of(DATA), pure=True),
        compiler=Compiler(opa="1.0.0", capabilities="0" * 64),
        tests=TestReport(passed=1, coverage_percent=100.0),
    )


def release(
    product: str = "orders", of: ProductSpec | None = None, plans: dict[str, PlanSpec] | None = None
) -> Release:
    made = manifest(product, of, plans)
    return Release(digest=digest_of(canonical(made)), manifest=made, wasm=WASM, data=DATA)


async def stored(
    folder: Path, made: Manifest, wasm: bytes = WASM, signer: LocalSigner = SIGNER, *, at: float = 0.0
) -> str:
    """Store a release as a build would; return its digest."""
    store, payload = FileReleaseStore(folder), canonical(made)
    digest = digest_of(payload)
    await store.put_blob(made.policy.wasm.digest, wasm)
    await store.put_blob(made.policy.data.digest, DATA)
    listed = Listed(digest=digest, product=made.product, stored_at=at)
    await store.put_release(listed, seal(PAYLOAD_TYPE, payload, signer))
    return digest
