"""The catalog's values: what a gitops tree says once it has been read and found right.

Each struct is the `spec` of one kind of resource (`apiVersion: apx.dev/v1`), with its defaults filled in. They are
frozen, carry units in their names, and are what a release holds in its canonical JSON. Their bounds and the text under
each field are the JSON Schemas that editors use (`gitops/schemas/`, written by `python -m apx.catalog.schema`). The
file is long because all of it is declarations, which are read side by side.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

API_VERSION = "apx.dev/v1"
INTERNAL = "apx-"
"""What the names of APX's own products begin with, whose requests nobody sends: no product of a tree is called so."""

Mode = Literal["async", "sync"]
OpenapiMode = Literal["enforce", "observe"]
LaneKey = Literal["org", "key", "request"]
OnAbort = Literal["finish", "readmit", "cancel"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
RetryOn = Literal["connect", "timeout", "429", "500", "502", "503", "504"]
Per = Literal["hour", "day", "month"]

DAY_S = 86_400
_MOST_DEADLINE_S = 7 * DAY_S
_MOST_RETENTION_S = 30 * DAY_S
MOST_KEPT_S = _MOST_DEADLINE_S + _MOST_RETENTION_S
"""No result is kept longer, whatever its product says."""
MIB = 1_048_576
MOST_PER_SECOND, MOST_BURST, MOST_REQUESTS = 1_000_000, 10_000_000, 1_000_000_000_000

_END = r"$(?!\n)"
"""The end of the text in every dialect: Python's `$` alone would let a line break follow."""
_DISTINCT = {"uniqueItems": True}


def _text(pattern: str, must_be: str, *, example: str, longest: int = 253, shown: bool = True) -> Meta:
    """Bound a text; `must_be` is what editors and `apx validate` say of another (VS Code's `patternErrorMessage`).

    A text that may hold a secret by mistake is not `shown` in messages.
    """
    return Meta(
        pattern=f"^{pattern}{_END}",
        min_length=1,
        max_length=longest,
        examples=[example],
        extra_json_schema={"patternErrorMessage": must_be} | ({} if shown else {"writeOnly": True}),
    )


Name = Annotated[
    str,
    _text(
        "[a-z]([a-z0-9-]*[a-z0-9])?",
        "lower-case letters, digits and hyphens, from a letter to a letter or digit",
        example="example",
        longest=63,
    ),
]
Line = Annotated[
    str,
    _text(r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*", "one line of text", example="Example", longest=120),
]
HeaderName = Annotated[
    str,
    _text("[a-z0-9]([a-z0-9-]*[a-z0-9])?", "lower-case letters, digits and hyphens", example="x-example", longest=64),
]
HeaderValue = Annotated[
    str,
    _text(
        r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?",
        "printable ASCII without blanks around it",
        example="example",
        longest=4096,
        shown=False,
    ),
]
Method = Annotated[
    str,
    _text("(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)", "GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS", example="GET"),
]
BasePath = Annotated[
    str,
    _text(
        "(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?){1,8}",
        "up to 8 segments of lower-case letters, digits, '.', '_' and '-', each after a '/', and no '/' at the end",
        example="/example",
    ),
]
RoutePath = Annotated[
    str,
    _text(
        r"(/|(/([A-Za-z0-9_~-][A-Za-z0-9._~-]*|\{[a-z][a-z0-9_]*\})){1,16}(/\{[a-z][a-z0-9_]*=\*\*\})?"
        r"|/\{[a-z][a-z0-9_]*=\*\*\})",
        "'/', or up to 16 segments, each a word, {name}, or at the end {name=**}, with no '/' after the last",
        example="/examples/{id}",
        longest=1024,
    ),
]
JsonPointer = Annotated[
    str,
    _text("(/([^/~\\x00-\\x1f]|~[01])*){1,16}", "a JSON pointer", example="/usage/total_tokens", longest=256),
]
Package = Annotated[
    str,
    _text(
        r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*",
        "lower-case words of letters, digits and '_', joined by '.'",
        example="products.example",
    ),
]
FileInFolder = Annotated[
    str,
    _text(
        "[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*",
        "the path of a file inside the product's own folder",
        example="jwks.json",
    ),
]
Contact = Annotated[str, _text(r"[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+", "an e-mail address", example="api@example.org")]

TimeOfDay = Annotated[str, _text("([01][0-9]|2[0-3]):[0-5][0-9]", "a time of day in quotes, '17:30'", example="17:30")]
TimeZone = Annotated[
    str,
    _text(
        "[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*",
        "the IANA name of a time zone",
        example="Europe/Berlin",
        longest=64,
    ),
]

Network = Annotated[str, Meta(min_length=1, max_length=64, examples=["203.0.113.0/24"])]
Url = Annotated[str, Meta(min_length=1, max_length=2048, examples=["https://backend.example/path"])]
"""Judged by `apx.catalog.urls`: no pattern says it."""
Seconds = Annotated[float, Meta(gt=0, le=DAY_S)]
Bytes = Annotated[int, Meta(ge=1, le=100 * MIB)]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a resource's spec."""


class Retry(Spec, frozen=True, kw_only=True):
    """When and how often the worker calls the backend again: full-jitter exponential backoff."""

    attempts: Annotated[int, Meta(ge=1, le=20)] = 5
    """Most calls for one request, the first one included."""
    on: Annotated[tuple[RetryOn, ...], Meta(extra_json_schema=_DISTINCT)] = (
        "connect",
        "timeout",
        "429",
        "502",
        "503",
        "504",
    )
    """What is worth another call: a connection that fails, a call that takes too long, or a status (in quotes)."""
    initial_backoff_s: Seconds = 0.2
    """Upper bound of the first wait; it doubles with each call."""
    max_backoff_s: Seconds = 30.0
    """Upper bound of any wait."""


class Backend(Spec, frozen=True, kw_only=True):
    """Where a product's requests go. Paths are joined: `url` + the path under the product's base path."""

    url: Url
    """`http://` or `https://`, host, port and path, with no `/` at the end, no user, query or fragment."""
    allow_private: bool = False
    """Let the backend have an address that is not public (loopback, private, link-local); with care."""
    timeout_s: Seconds = 30.0
    """Longest time of one call, first byte to last."""
    connect_timeout_s: Seconds = 2.0
    """Longest time until the connection stands; part of `timeout_s`."""
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 64
    """Most calls in flight to this backend, over all workers."""
    streaming: bool = False
    """The backend answers piece by piece; each piece goes to the client's events as it comes."""
    max_response_bytes: Annotated[int, Meta(ge=1, le=1024 * MIB)] = 10_485_760
    """A longer answer fails the request."""
    retry: Retry = Retry()
    """When and how often a call is made again."""
    headers: Annotated[dict[HeaderName, HeaderValue], Meta(max_length=50)] = {}
    """Headers set on each call; never secrets: this file is public to the team."""


class Rate(Spec, frozen=True, kw_only=True):
    """A token bucket: `burst` tokens at most, refilled at `per_second`."""

    per_second: Annotated[float, Meta(gt=0, le=MOST_PER_SECOND)]
    """Requests a second that go on for ever."""
    burst: Annotated[int, Meta(ge=1, le=MOST_BURST)]
    """Requests at once after a pause."""


class Route(Spec, frozen=True, kw_only=True):
    """One path template under the base path, and the methods that it takes."""

    path: RoutePath
    """`/`, `/{id}`, `/{id}/lines`; `/{rest=**}` takes every deeper path."""
    methods: Annotated[tuple[Method, ...], Meta(min_length=1, extra_json_schema=_DISTINCT)] = (
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    )
    """HTTP methods in capitals."""
    timeout_s: Seconds | None = None
    """In place of the backend's `timeout_s`."""
    max_body_bytes: Bytes = 1_048_576
    """A longer request is refused with 413."""
    rate: Rate | None = None
    """How many requests one key may make of this route, beside its plan's rate."""


class Async(Spec, frozen=True, kw_only=True):
    """How accepted requests of an async product wait and run."""

    lane: LaneKey = "org"
    """What is first-in, first-out: the org's requests, one key's, or each request by itself."""
    deadline_s: Annotated[float, Meta(gt=0, le=_MOST_DEADLINE_S)] = 3600.0
    """From acceptance; a request that is older is never sent to the backend."""
    retention_s: Annotated[float, Meta(gt=0, le=_MOST_RETENTION_S)] = 86_400.0
    """How long a result can be collected."""
    backlog: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """Most requests of one org that wait; above it 429."""
    concurrency_per_org: Annotated[int, Meta(ge=1, le=100_000)] = 8
    """Most requests of one org that run at a time."""


class Jwt(Spec, frozen=True, kw_only=True):
    """A JSON Web Token that the edge verifies before anything else sees the request (RFC 7519)."""

    issuer: Url
    """What the token's `iss` must be, to the letter."""
    audiences: Annotated[tuple[Line, ...], Meta(min_length=1, extra_json_schema=_DISTINCT)]
    """The token's `aud` must name one of these."""
    jwks_file: FileInFolder | None = None
    """A JWKS in the gitops tree, relative to the product's folder; its content is part of the release."""
    jwks_url: Url | None = None
    """Where the issuer publishes its JWKS, `https://`; in place of `jwks_file`."""
    jwks: str | None = None
    """The content of `jwks_file`, filled in when the catalog is loaded."""


class Auth(Spec, frozen=True, kw_only=True):
    """Who may call. An API key is always asked for; with `jwt` the bearer token too, and the key in `X-API-Key`."""

    jwt: Jwt | None = None
    """The token that is asked for beside the key."""


class PolicyRef(Spec, frozen=True, kw_only=True):
    """The Rego package that decides (`data.<package>.decision`) and what it is shown of a request."""

    package: Package
    """For instance `products.orders`; declared by a file under `gitops/policies/`."""
    body: bool = False
    """Show the parsed JSON body as `input.body`."""
    headers: Annotated[tuple[HeaderName, ...], Meta(max_length=20, extra_json_schema=_DISTINCT)] = ()
    """Lower-case names of the request headers shown as `input.request.headers`."""


class CostFrom(Spec, frozen=True, kw_only=True):
    """Where the backend's answer says what a request cost, as language models tell their tokens."""

    header: HeaderName | None = None
    """A response header that holds a number of units."""
    json: JsonPointer | None = None
    """In place of `header`: where the number is in a JSON body of at most 64 KiB, `/usage/total_tokens` (RFC 6901)."""
    usd_per_unit: Annotated[float, Meta(gt=0, le=1_000)]
    """What one of them costs."""


class Cost(Spec, frozen=True, kw_only=True):
    """What a request costs in US dollars, where the policy's decision does not say it."""

    usd: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    """Each request; with `from`, what is set aside for it until its answer is there."""
    usd_per_kib_request: Annotated[float, Meta(ge=0, le=1_000)] = 0.0
    """Each KiB of its body, and parts of one; only for `mode: async`."""
    from_: CostFrom | None = msgspec.field(default=None, name="from")
    """Where a successful answer says it; only for `mode: async`. One that does not say it costs what was set aside."""
    on_failure: Literal["keep", "return"] = "keep"
    """What becomes of the cost of a request that fails or expires; only for `mode: async`."""


class Slo(Spec, frozen=True, kw_only=True):
    """What the product promises over 30 days."""

    availability_percent: Annotated[float, Meta(gt=0, lt=100)] = 99.5
    """Share of requests that do not fail by the fault of product or platform."""
    latency_p99_ms: Annotated[int, Meta(ge=1, le=3_600_000)] | None = None
    """99 of 100 requests are answered within this time: accepted for async, complete for sync products."""


class Step(Spec, frozen=True, kw_only=True):
    """One step of a rollout: a share of the orgs, and for how long at least."""

    weight_percent: Annotated[float, Meta(gt=0, le=100)]
    """Share of the orgs that the candidate serves."""
    hold_s: Annotated[float, Meta(ge=0, le=7 * DAY_S)] = 60.0
    """Shortest stay; the judge's pass is asked for as well."""


class Shadow(Spec, frozen=True, kw_only=True):
    """The candidate decides on inputs of the stable release first, without effect."""

    share_percent: Annotated[float, Meta(ge=0, le=100)] = 10.0
    """Share of the stable release's decisions that the candidate repeats; 0 leaves the shadow out."""
    hold_s: Annotated[float, Meta(ge=0, le=7 * DAY_S)] = 30.0
    """How long before the first org moves."""
    budget_percent: Annotated[float, Meta(gt=0, le=50)] = 2.0
    """Most processor time that a router gives to it; over that it repeats fewer, and says so."""


class Judge(Spec, frozen=True, kw_only=True):
    """How much worse than the stable release a candidate may be. A limit of 100 is none."""

    errors_percent: Annotated[float, Meta(gt=0, le=100)] = 25.0
    """Most requests in a hundred that the backend fails, whatever the stable release does."""
    more_errors_percent: Annotated[float, Meta(gt=0, le=100)] = 2.0
    """Most requests in a hundred that fail beyond those that fail under the stable release, in the last step."""
    new_denials_percent: Annotated[float, Meta(gt=0, le=100)] = 1.0
    """Most requests in a hundred that the candidate denies and the stable release would have admitted."""
    policy_failures_percent: Annotated[float, Meta(gt=0, le=100)] = 1.0
    """Most decisions in a hundred in which the candidate's policy does not work."""
    more_slow_percent: Annotated[float, Meta(gt=0, le=100)] = 10.0
    """Most requests in a hundred that are slow beyond those of the stable release; slow is over its 90th percentile."""


class Freeze(Spec, frozen=True, kw_only=True):
    """A window in which no rollout of the product starts or goes on to another step."""

    days: Annotated[tuple[Weekday, ...], Meta(min_length=1, extra_json_schema=_DISTINCT)] = (
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
    )
    """On which days it begins."""
    begin: TimeOfDay
    """When it begins."""
    end: TimeOfDay
    """When it ends; at or before `begin`: on the next day."""
    timezone: TimeZone = "UTC"
    """In whose time."""
    why: Line = "freeze window"
    """What those who are refused read."""


class RolloutSpec(Spec, frozen=True, kw_only=True):
    """How traffic moves from the stable release to a new one."""

    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=20)] = (
        Step(weight_percent=5.0),
        Step(weight_percent=25.0),
        Step(weight_percent=50.0),
    )
    """Shares that grow; after the last one's pass the candidate becomes stable."""
    shadow: Shadow = Shadow()
    """What comes before the first step."""
    judge: Judge = Judge()
    """What the candidate is held against."""
    max_hold_s: Annotated[float, Meta(gt=0, le=7 * DAY_S)] = 3600.0
    """Longest wait for a verdict in one step; then the rollout pauses and says so."""
    on_abort: OnAbort = "finish"
    """Queued requests of an aborted candidate: `finish` under it, `readmit` to stable (else fail), or `cancel`."""
    freeze: Annotated[tuple[Freeze, ...], Meta(max_length=20)] = ()
    """When no rollout moves."""


class ProductSpec(Spec, frozen=True, kw_only=True):
    """An API product."""

    title: Line
    """For people."""
    description: Annotated[str, Meta(max_length=4000)] = ""
    """For people; what the product does and for whom."""
    owner: Line
    """The team that answers for the product."""
    base_path: BasePath
    """Where the product is served, `/orders`; neither equal to, under, nor above another product's."""
    mode: Mode = "async"
    """`async`: accept at once, run later, collect the result. `sync`: the edge proxies and the client waits."""
    backend: Backend
    """Where requests go."""
    routes: Annotated[tuple[Route, ...], Meta(min_length=1, max_length=1000)]
    """What the product takes; everything else is 404. The most specific template wins, wherever it stands."""
    async_: Async = msgspec.field(default=Async(), name="async")
    """How accepted requests wait and run; only for `mode: async`."""
    auth: Auth = Auth()
    """Who may call."""
    openapi: FileInFolder | None = None
    """The product's OpenAPI document (3.0 or 3.1, YAML or JSON) in its folder; requests are held against it."""
    openapi_mode: OpenapiMode = "enforce"
    """What becomes of a request that departs from the document: `enforce` refuses it, `observe` only counts it."""
    policy: PolicyRef
    """What decides about each request."""
    plans: Annotated[tuple[Name, ...], Meta(min_length=1, extra_json_schema=_DISTINCT)]
    """Names of the plans under which the product is offered."""
    cost: Cost | None = None
    """What a request costs: what budgets and usage count."""
    slo: Slo = Slo()
    """What the product promises."""
    rollout: RolloutSpec = RolloutSpec()
    """How a new release takes over."""


class Quota(Spec, frozen=True, kw_only=True):
    """How much may be asked in an hour, a day or a month, which begin in the org's time zone."""

    name: Name
    """What clients read in the `RateLimit` fields; none of `plan`, `route`, `key` and `org`, which are rates."""
    per: Per
    """How long it lasts; then it is whole again."""
    requests: Annotated[int, Meta(ge=1, le=MOST_REQUESTS)]
    """How many requests; one that costs more by its policy's decision counts as that many."""
    of: Literal["key", "org"] = "key"
    """Whose requests of one product count together: one key's, or those of all keys of one org."""


class PlanSpec(Spec, frozen=True, kw_only=True):
    """Named limits that a product offers."""

    title: Line
    """For people."""
    rate: Rate
    """How many requests one key may make of one product."""
    org_rate: Rate | None = None
    """How many requests all keys of one org together may make of one product."""
    quotas: Annotated[tuple[Quota, ...], Meta(max_length=6)] = ()
    """What may be asked of one product in longer times, beside the rates."""
    limits_mode: Literal["enforce", "observe"] = "enforce"
    """What becomes of a request over the plan's rates and quotas: `enforce` refuses it, `observe` only counts it."""
    when_limits_are_away: Literal["closed", "local"] = "local"
    """While the store of limits does not answer: refuse with 503, or let a quarter of each limit through per router."""
    max_timeout_s: Seconds = 300.0
    """No product that offers this plan may have a longer timeout."""
    max_body_bytes: Bytes = 1_048_576
    """No product that offers this plan may take longer bodies."""
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
    """Higher is shed later."""


class OrgQuota(Spec, frozen=True, kw_only=True):
    """How much all keys of an org may ask of all products together in an hour, a day or a month."""

    name: Name
    """What clients read in the `RateLimit` fields, behind `org.`."""
    per: Per
    """How long it lasts; then it is whole again."""
    requests: Annotated[int, Meta(ge=1, le=MOST_REQUESTS)]
    """How many requests; one that costs more by its policy's decision counts as that many."""


class Mark(Spec, frozen=True, kw_only=True):
    """A share of a budget at which something is done, once in its day or month."""

    percent: Annotated[float, Meta(gt=0, le=100)]
    """Of the budget's `usd`."""
    does: Literal["notice", "throttle", "stop"]
    """`notice` tells of it, and so do the others; `throttle` lowers the rates of the org's keys to `throttle_percent`;
    `stop` refuses with 429 what would cost more."""


class Budget(Spec, frozen=True, kw_only=True):
    """What requests of an org may cost in a day or a month, in US dollars."""

    name: Name
    """What clients read, behind `budget.`."""
    usd: Annotated[float, Meta(ge=0.01, le=100_000_000)]
    """How much; what a request costs is said by its policy's decision, else by its product's `cost`."""
    per: Literal["day", "month"]
    """How long it lasts; then it is whole again."""
    products: Annotated[tuple[Name, ...], Meta(extra_json_schema=_DISTINCT)] = ()
    """Whose requests count; none: those of all products."""
    marks: Annotated[tuple[Mark, ...], Meta(min_length=1, max_length=10)] = (
        Mark(percent=50, does="notice"),
        Mark(percent=80, does="notice"),
        Mark(percent=100, does="stop"),
    )
    """Shares that grow. Without a `stop` nothing is refused."""
    throttle_percent: Annotated[float, Meta(gt=0, lt=100)] = 50.0
    """What is left of the rates behind a mark that throttles."""


class OrgSpec(Spec, frozen=True, kw_only=True):
    """A tenant: what it may use, under which plan, how much of all, and where its data lives."""

    title: Line
    """For people."""
    region: Literal["us", "eu"]
    """Where the org's requests and results are kept."""
    contacts: Annotated[tuple[Contact, ...], Meta(min_length=1, extra_json_schema=_DISTINCT)]
    """E-mail addresses of those who are told."""
    entitlements: dict[Name, Name]
    """Product name → plan name."""
    timezone: TimeZone = "UTC"
    """In whose time the hours, days and months of its quotas begin, those of its plans too."""
    rate: Rate | None = None
    """How many requests all its keys together may make of all products."""
    quotas: Annotated[tuple[OrgQuota, ...], Meta(max_length=6)] = ()
    """What may be asked of all products in longer times."""
    budgets: Annotated[tuple[Budget, ...], Meta(max_length=6)] = ()
    """What its requests may cost."""
    allowlist: Annotated[tuple[Network, ...], Meta(max_length=64, extra_json_schema=_DISTINCT)] = ()
    """Networks (CIDR) that its keys may be used from; none: from everywhere."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product with its name and the folder that holds it."""

    name: str
    spec: ProductSpec
    folder: str
    openapi: bytes | None = None
    """The document that `spec.openapi` names, as JSON."""


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


def is_internal(product: str) -> bool:
    """Tell whether a product is APX's own: nobody is charged for it, and nobody judges a release by it."""
    return product.startswith(INTERNAL)
