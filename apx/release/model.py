"""A release's values: the manifest that is signed, and the parts that it names by digest."""

from __future__ import annotations

from typing import Literal

import msgspec

from apx.catalog.model import PlanSpec, ProductSpec

PAYLOAD_TYPE = "application/vnd.apx.release.v1+json"


class Blob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part stored by content: its SHA-256 and length; a reader stops at the length."""

    digest: str
    size_bytes: int


class PolicyArtifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compiled policy."""

    package: str
    wasm: Blob
    data: Blob
    pure: bool
    """The decision depends on the input alone (no clock), so it may be memoised."""


class Compiler(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What made the release: part of its content, so that another compiler gives another digest."""

    opa: str
    capabilities: str
    """SHA-256 of the capabilities file."""


class TestReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the policy's own tests said when the release was built."""

    passed: int
    coverage_percent: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of one product: resolved spec, plans, policy. Its canonical JSON's SHA-256 is the release's digest."""

    schema: Literal["apx.dev/release/v1"] = "apx.dev/release/v1"
    product: str
    spec: ProductSpec
    plans: dict[str, PlanSpec]
    policy: PolicyArtifact
    compiler: Compiler
    tests: TestReport
    openapi: Blob | None = None
    """The OpenAPI document that requests are held against, as JSON."""


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A verified release: its digest, its manifest and the bytes of its parts."""

    digest: str
    manifest: Manifest
    wasm: bytes
    data: bytes
    openapi: bytes | None = None
