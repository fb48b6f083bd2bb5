"""Admission: route → identity → OpenAPI document → decision → limits. The first that says no ends it.

What fails, refuses. No I/O: the key's record is found beforehand (`identity`), the answer is a value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from apx.admission.bodies import has_one_reading, is_encoded, is_json_type
from apx.admission.contract import Contract, Held, Seen, contract_of
from apx.admission.departures import Departure
from apx.admission.keys import KeyRecord
from apx.admission.levels import Levels
from apx.admission.orgs import OrgTerms
from apx.admission.routes import Match, RouteTree
from apx.admission.terms import may_call
from apx.catalog.model import Cost, PlanSpec, ProductSpec, Route
from apx.limits.leases import Answer, Level
from apx.policy.decision import Decision
from apx.release.model import Release
from apx.telemetry import metrics

_MOST_QUERY_FIELDS = 256
_MOST_CALLERS = 10_000


Record = Callable[[str, str, bytes, Decision], None]
"""Takes product, release digest, input document and decision; at once, and never raises."""


class Decider(Protocol):
    """A policy, ready to decide."""

    @property
    def evaluated(self) -> int:
        """Return how many decisions were worked out, not remembered."""
        ...

    def decide(self, input_json: bytes) -> Decision:
        """Return the decision for an input document. Never raises."""
        ...

    def close(self) -> None:
        """Give its memory back."""
        ...


class LiveProduct:
    """A product as it serves: its release, its routes as a tree, its policy ready to decide."""

    def __init__(self, release: Release, policy: Decider, record: Record | None = None) -> None:
        """Serve `release`; what is decided is handed to `record` too. Raises `ReleaseRejected`."""
        manifest = release.manifest
        self.name: str = manifest.product
        self.digest: str = release.digest
        self.spec: ProductSpec = manifest.spec
        self.plans: dict[str, PlanSpec] = manifest.plans
        self.routes = RouteTree(manifest.spec.routes)
        self.policy = policy
        self.contract: Contract | None = contract_of(release)
        self._record = record
        self._callers: dict[str, tuple[KeyRecord, str, bytes]] = {}
        self.levels = Levels(manifest.product, manifest.plans)

    def caller_json(self, key: KeyRecord, plan: str) -> bytes:
        """Return the open JSON object that every input document of this key begins with."""
        known = self._callers.get(key.id)
        if known is not None and known[0] is key and known[1] == plan:
            return known[2]
        caller = {"org": key.org, "region": key.region, "product": self.name, "plan": plan, "key": {"id": key.id}}
        begun = msgspec.json.encode(caller)[:-1]
        if len(self._callers) >= _MOST_CALLERS:
            self._callers.clear()
        self._callers[key.id] = (key, plan, begun)
        return begun

    def decide(self, input_json: bytes) -> Decision:
        """Ask the policy, and count what it said, for a request that it decides about."""
        before, started = self.policy.evaluated, time.perf_counter()
        decision = self.policy.decide(input_json)
        if self.policy.evaluated == before:
            metrics.DECISION_MEMO_HITS.inc(self.name)
        else:
            metrics.DECISION_DURATION.observe(time.perf_counter() - started, self.name)
        if decision.failed:
            metrics.DECISION_FAILURES.inc(self.name, decision.reason)
        metrics.DECISIONS.inc(self.name, "allow" if decision.allow else "failed" if decision.failed else "deny")
        if self._record is not None:
            self._record(self.name, self.digest, input_json, decision)
        return decision

    def close(self) -> None:
        """Give the policy's memory back."""
        self.policy.close()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What admission sees of a request."""

    method: str
    path: str
    """Under the base path, canonical."""
    query: str
    headers: Mapping[str, str]
    client_ip: str
    claims: bytes | None = None
    """JSON of the JWT's claims, as the edge verified them."""
    body: bytes = b""


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The request may go on."""

    product: LiveProduct
    route: Route
    key: KeyRecord
    plan: str
    decision: Decision
    limit: Answer
    budgets: tuple[Level, ...] = ()
    """Those that what it costs is taken from."""
    set_aside_usd: float = 0.0
    """What was taken from each of them; nothing where the router let it through by itself."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The request may not go on: what the client sees (RFC 9457), and where it ended."""

    status: int
    code: str
    detail: str
    retry_after_s: int | None = None
    limit: Answer | None = None
    """What a limit said, where one refused."""
    policy_failed: bool = False
    allow: tuple[str, ...] = ()
    errors: tuple[Departure, ...] = ()
    """Where the request departs from the product's OpenAPI document."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What a release says of a request, limits aside."""

    key: KeyRecord
    route: Route
    plan: PlanSpec
    plan_name: str
    decision: Decision
    """With what the request costs, where the product says it and the policy does not."""
    document: bytes
    """The input document that was decided about, JSON."""


def judge(
    product: LiveProduct,
    match: Match,
    key: KeyRecord,
    call: Call,
    decide: Callable[[bytes], Decision],
    *,
    counts: bool = False,
) -> Judged | Refused:
    """Say what a release makes of a request; `decide` asks its policy. Changes nothing but metrics, if it `counts`."""
    plan_name = key.plans.get(product.name, "")
    plan = product.plans.get(plan_name)
    if plan is None:
        return _not_entitled(plan_name)
    if not may_call(key, product.name, call.method):
        return OUT_OF_SCOPE
    if len(call.body) > min(match.route.max_body_bytes, plan.max_body_bytes):
        return Refused(status=413, code="body-too-large", detail="The body is larger than this route and plan allow.")
    document = _document(product, match, key, call, counts=counts)
    if isinstance(document, Refused):
        return document
    decision = decide(document)
    if not decision.allow:
        return _denied(decision)
    priced = _priced(decision, product.spec.cost, len(call.body))
    return Judged(key=key, route=match.route, plan=plan, plan_name=plan_name, decision=priced, document=document)


def _priced(decision: Decision, cost: Cost | None, body_bytes: int) -> Decision:
    if cost is None or decision.cost_usd is not None:
        return decision
    cost_usd = cost.usd + cost.usd_per_kib_request * -(-body_bytes // 1024)
    return msgspec.structs.replace(decision, cost_usd=cost_usd)


def levels(
    product: LiveProduct, judged: Judged, terms: OrgTerms, now_s: float, left: Callable[[str], float]
) -> tuple[Level, ...]:
    """Return the limits that a judged request falls under, the narrowest first.

    `left` tells what a bucket was last known to have.
    """
    return product.levels.of(judged.key, judged.route, terms, now_s, left)


def conclude(product: LiveProduct, judged: Judged, limit: Answer, under: tuple[Level, ...] = ()) -> Admitted | Refused:
    """Admit a judged request when its limits, those that it fell under, took it."""
    if limit.away:
        metrics.LIMITS_REFUSED.inc(product.name, "away")
        return _AWAY
    if limit.observed is not None:
        metrics.LIMITS_OBSERVED.inc(product.name, limit.observed.kind)
    if not limit.taken.allowed:
        metrics.LIMITS_REFUSED.inc(product.name, limit.level.kind)
        return _over_limit(limit)
    return Admitted(
        product=product,
        route=judged.route,
        key=judged.key,
        plan=judged.plan_name,
        decision=judged.decision,
        limit=limit,
        budgets=tuple(level for level in under if level.kind == "budget") if judged.decision.cost_usd else (),
        set_aside_usd=0.0 if limit.alone else judged.decision.cost_usd or 0.0,
    )


OUT_OF_SCOPE = Refused(status=403, code="insufficient-scope", detail="This key is not for this method of the product.")


def _not_entitled(plan: str) -> Refused:
    if plan:
        return Refused(status=403, code="plan-not-offered", detail="The product does not offer this key's plan.")
    return Refused(status=403, code="product-not-entitled", detail="This key is not for this product.")


def _denied(decision: Decision) -> Refused:
    if decision.failed:
        return Refused(status=403, code=decision.reason, detail="The request could not be judged.", policy_failed=True)
    return Refused(status=403, code=decision.reason, detail=decision.detail or "The product's policy refuses this.")


def _over_limit(limit: Answer) -> Refused:
    whose = limit.level.whose
    never = limit.taken.retry_after_s == float("inf")
    return Refused(
        status=429,
        code="budget-exceeded" if limit.level.kind == "budget" else "quota-exceeded",
        detail=f"This request costs more than {whose} ever allows at once." if never else f"{whose} is used up.",
        retry_after_s=None if never else max(1, int(limit.taken.retry_after_s + 0.999)),
        limit=limit,
    )


_AWAY = Refused(
    status=503,
    code="limits-away",
    detail="What is left of the plan's rate cannot be told now, and the plan wants to be sure.",
    retry_after_s=1,
)
_ENCODED = Refused(
    status=415,
    code="body-encoded",
    detail="This product takes bodies without a content-encoding: its policy reads them.",
)
"""The policy would judge the bytes, and the backend act on what they decode to."""


def _document(product: LiveProduct, match: Match, key: KeyRecord, call: Call, *, counts: bool) -> bytes | Refused:
    """Hold a request against the OpenAPI document, and return what the policy is shown of it."""
    try:
        query = _query(call.query)
        params = {name: unquote(value, errors="strict") for name, value in match.params.items()}
    except ValueError:
        return Refused(status=400, code="query-invalid", detail="The query is not percent-encoded UTF-8.")
    seen = Seen(match.route.path, call.method, params, query, call.headers, call.body)
    held = _hold(product, seen, counts=counts)
    return held if isinstance(held, Refused) else _input(product, key, call, seen, held)


_NOT_HELD = Held(None, body_is_read=False)


def _hold(product: LiveProduct, seen: Seen, *, counts: bool) -> Held | Refused:
    if product.contract is None:
        return _NOT_HELD
    started = time.perf_counter()
    held = product.contract.hold(seen)
    enforced = product.spec.openapi_mode == "enforce"
    if counts:
        metrics.VALIDATION_DURATION.observe(time.perf_counter() - started, product.name)
        result = "valid" if held.invalid is None else "refused" if enforced else "observed"
        metrics.VALIDATIONS.inc(product.name, result)
    if held.invalid is None or not enforced:
        return held
    invalid = held.invalid
    return Refused(status=invalid.status, code=invalid.code, detail=invalid.detail, errors=invalid.errors)


def _input(product: LiveProduct, key: KeyRecord, call: Call, seen: Seen, held: Held) -> bytes | Refused:
    """Return the policy's input document (gitops/schemas/policy-input.json) as JSON."""
    policy = product.spec.policy
    request = msgspec.json.encode(
        {
            "method": call.method,
            "route": seen.route,
            "path": call.path,
            "params": seen.params,
            "query": seen.query,
            "headers": {name: call.headers[name] for name in policy.headers if name in call.headers},
            "client_ip": call.client_ip,
        }
    )
    document = b'%b,"request":%b}' % (product.caller_json(key, key.plans[product.name]), request)
    if call.claims is not None:
        document = document[:-1] + b',"claims":' + call.claims + b"}"
    if policy.body and call.body:
        if not is_json_type(call.headers.get("content-type", "application/json")):
            return Refused(status=415, code="body-not-json", detail="This product takes application/json.")
        if is_encoded(call.headers):
            return _ENCODED
        if not held.body_is_read and not has_one_reading(call.body):
            return Refused(status=400, code="body-invalid", detail="The body is not JSON with one reading (RFC 8259).")
        document = document[:-1] + b',"body":' + call.body + b"}"
    return document


def _query(query: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    if query:
        if not (query.isascii() and query.isprintable()):
            raise ValueError("a raw byte that has to be escaped")
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_QUERY_FIELDS)
        for name, value in pairs:
            fields.setdefault(name, []).append(value)
    return fields
