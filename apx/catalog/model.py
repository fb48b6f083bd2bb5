"""The catalog's values: what a gitops tree says once it has been read and found right.

Each struct is the `spec` of one kind of resource (`apiVersion: apx.dev/v1`), with its defaults filled in. They are
frozen, carry units in their names, and are what a release holds in its canonical JSON.
"""

from __future__ import annotations

from typing import Literal

import msgspec

API_VERSION = "apx.dev/v1"

Mode = Literal["async", "sync"]
LaneKey = Literal["org", "key", "request"]
RetryOn = Literal["connect", "timeout", "429", "500", "502", "503", "504"]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a resource's spec."""


class Retry(Spec, frozen=True, kw_only=True):
    """When and how often the worker calls the backend again: full-jitter exponential backoff."""

    attempts: int = 5
    on: tuple[RetryOn, ...] = ("connect", "timeout", "429", "502", "503", "504")
    initial_backoff_s: float = 0.2
    max_backoff_s: float = 30.0


class Backend(Spec, frozen=True, kw_only=True):
    """Where a product's requests go. Paths are joined: `url` + the path under the product's base path."""

    url: str
    allow_private: bool = False
    timeout_s: float = 30.0
    """Longest time of one call, first byte to last."""
    connect_timeout_s: float = 2.0
    concurrency: int = 64
    """Most calls in flight to this backend, over all workers."""
    streaming: bool = False
    """The backend answers piece by piece; each piece goes to the client's events as it comes."""
    max_response_bytes: int = 10_485_760
    retry: Retry = Retry()
    headers: dict[str, str] = {}
    """Headers set on each call; never secrets: this file is public to the team."""


class Route(Spec, frozen=True, kw_only=True):
    """One path template under the base path, and the methods that it takes."""

    path: str
    """`/`, `/{id}`, `/{id}/lines`; `/{rest=**}` takes every deeper path."""
    methods: tuple[str, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
    timeout_s: float | None = None
    """In place of the backend's `timeout_s`."""
    max_body_bytes: int = 1_048_576


class Async(Spec, frozen=True, kw_only=True):
    """How accepted requests of an async product wait and run."""

    lane: LaneKey = "org"
    """What is first-in, first-out: the org's requests, one key's, or each request by itself."""
    deadline_s: float = 3600.0
    """From acceptance; a request that is older is never sent to the backend."""
    retention_s: float = 86_400.0
    """How long a result can be collected."""
    backlog: int = 10_000
    """Most requests of one org that wait; above it 429."""
    concurrency_per_org: int = 8


class Jwt(Spec, frozen=True, kw_only=True):
    """A JSON Web Token that the edge verifies before anything else sees the request (RFC 7519)."""

    issuer: str
    audiences: tuple[str, ...]
    jwks_file: str | None = None
    """A JWKS in the gitops tree, relative to the product's folder; its content is part of the release."""
    jwks_url: str | None = None
    jwks: str | None = None
    """The content of `jwks_file`, filled in when the catalog is loaded."""


class Auth(Spec, frozen=True, kw_only=True):
    """Who may call. An API key is always asked for; with `jwt` the bearer token too, and the key in `X-API-Key`."""

    jwt: Jwt | None = None


class PolicyRef(Spec, frozen=True, kw_only=True):
    """The Rego package that decides (`data.<package>.decision`) and what it is shown of a request."""

    package: str
    body: bool = False
    """Show the parsed JSON body as `input.body`."""
    headers: tuple[str, ...] = ()
    """Lower-case names of the request headers shown as `input.request.headers`."""


class Slo(Spec, frozen=True, kw_only=True):
    """What the product promises over 30 days."""

    availability_percent: float = 99.5
    latency_p99_ms: int | None = None


class ProductSpec(Spec, frozen=True, kw_only=True):
    """An API product."""

    title: str
    description: str = ""
    owner: str
    base_path: str
    mode: Mode = "async"
    backend: Backend
    routes: tuple[Route, ...]
    async_: Async = msgspec.field(default=Async(), name="async")
    auth: Auth = Auth()
    policy: PolicyRef
    plans: tuple[str, ...]
    slo: Slo = Slo()


class Rate(Spec, frozen=True, kw_only=True):
    """A token bucket: `burst` tokens at most, refilled at `per_second`."""

    per_second: float
    burst: int


class PlanSpec(Spec, frozen=True, kw_only=True):
    """Named limits that a product offers. Prices and quotas join them later."""

    title: str
    rate: Rate
    max_timeout_s: float = 300.0
    max_body_bytes: int = 1_048_576
    priority: int = 0
    """Higher is shed later."""


class OrgSpec(Spec, frozen=True, kw_only=True):
    """A tenant: what it may use, under which plan, and where its data lives."""

    title: str
    region: Literal["us", "eu"]
    contacts: tuple[str, ...]
    entitlements: dict[str, str]
    """Product name → plan name."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product with its name and the folder that holds it."""

    name: str
    spec: ProductSpec
    folder: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan with its name."""

    name: str
    spec: PlanSpec


class Org(msgspec.Struct, frozen=True, kw_only=True):
    """An org with its name."""

    name: str
    spec: OrgSpec


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """A whole gitops tree, found right."""

    root: str
    products: dict[str, Product]
    plans: dict[str, Plan]
    orgs: dict[str, Org]
