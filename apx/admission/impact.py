"""What a product would answer to a recorded input: its route, its caller, its limits and its policy, as admission asks.

The input that the policy is shown is made again as this product shows it: its own template of the route, and the
headers, the body and the claims that it asks for, as far as they were recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from apx.admission.routes import Match, RouteTree
from apx.catalog.model import PlanSpec, Route
from apx.policy.evaluate import Evaluator
from apx.policy.replay import Outcome, Stage
from apx.policy.sample import Sample, Shown, shown
from apx.release.model import Manifest, Release

_TIME_LIMIT_MS = 100.0
"""Ten times what a router gives a policy: a busy machine is no finding."""


class RecordedClock:
    """Stands at the moment when the input was decided on, so that a token that was good then is good again."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def time(self) -> float:
        """Return the moment in seconds since the epoch."""
        return self.at_s

    def monotonic(self) -> float:
        """Return the same: nothing is timed by it."""
        return self.at_s


@contextmanager
def judge(release: Release, *, cache_dir: Path | None = None, base_path: str | None = None) -> Iterator[Judge]:
    """Start a release's policy to judge recorded inputs, and stop it at the end. Raises `ReleaseRejected`.

    `base_path` is where the recorded requests went to; None for the product's own.
    """
    clock = RecordedClock()
    policy = Evaluator(
        release.wasm,
        release.data,
        pure=release.manifest.policy.pure,
        time_limit_ms=_TIME_LIMIT_MS,
        clock=clock,
        cache_dir=cache_dir,
    )
    try:
        yield Judge(release.manifest, policy, clock, base_path)
    finally:
        policy.close()


def gone(_: Sample) -> Outcome:
    """Return what becomes of a request to a product that is no more."""
    return _refused("route", "not-found")


class Judge:
    """One side of a replay."""

    def __init__(self, manifest: Manifest, policy: Evaluator, clock: RecordedClock, base_path: str | None) -> None:
        self._spec = manifest.spec
        self._plans = manifest.plans
        self._policy = policy
        self._clock = clock
        self._routes = RouteTree(manifest.spec.routes)
        self._moved = base_path is not None and base_path != manifest.spec.base_path

    def __call__(self, sample: Sample) -> Outcome:
        """Return what becomes of the request. Never raises."""
        document = shown(sample)
        match = None if self._moved else self._routes.match(document.request.method, document.request.path)
        if not isinstance(match, Match):
            return _refused("route", "not-found" if match is None else "method-not-allowed")
        plan = self._plans.get(document.plan)
        if plan is None:
            return _refused("caller", "plan-not-offered")
        if self._spec.auth.jwt is not None and not bytes(document.claims):
            return _refused("caller", "unauthenticated")
        if (sample.body_bytes or 0) > min(match.route.max_body_bytes, plan.max_body_bytes):
            return _refused("limits", "body-too-large")
        self._clock.at_s = sample.at_ms / 1000
        decision = self._policy.decide(self._input(sample, document, match))
        if decision.allow and decision.cost > _most_at_once(plan, match.route):
            return Outcome(allow=False, reason="quota-exceeded", stage="limits", decision=decision)
        return Outcome(allow=decision.allow, reason=decision.reason, decision=decision)

    def _input(self, sample: Sample, document: Shown, match: Match) -> bytes:
        """Return the input as this product shows it: nearly always as it was recorded."""
        spec = self._spec
        hidden = document.request.headers.keys() - set(spec.policy.headers)
        unwanted = [
            name
            for name, wanted in (("claims", spec.auth.jwt is not None), ("body", spec.policy.body))
            if not wanted and bytes(getattr(document, name))
        ]
        if match.route.path == document.request.route and not hidden and not unwanted:
            return bytes(sample.input)
        return _rebuilt(sample, match, hidden, unwanted)


def _most_at_once(plan: PlanSpec, route: Route) -> float:
    """Return what a request may cost before a rate refuses it for ever; quotas are never smaller than the plan's."""
    own = plan.rate.burst if plan.limits_mode == "enforce" else float("inf")
    return own if route.rate is None else min(own, route.rate.burst)


def lacking(before: Manifest, after: Manifest) -> list[str]:
    """Say what the second is shown of a request and the first was not: recorded inputs do not have it."""
    old, new = before.spec, after.spec
    lacks = [f"the header {name}" for name in new.policy.headers if name not in old.policy.headers]
    if new.policy.body and not old.policy.body:
        lacks.append("the body")
    if new.auth.jwt is not None and old.auth.jwt is None:
        lacks.append("the claims of a token")
    return lacks


def _rebuilt(sample: Sample, match: Match, hidden: Collection[str], unwanted: Collection[str]) -> bytes:
    document = msgspec.json.decode(sample.input, type=dict[str, msgspec.Raw])
    request: dict[str, Any] = msgspec.json.decode(document["request"], type=dict[str, msgspec.Raw])
    headers: dict[str, str] = msgspec.json.decode(request["headers"], type=dict[str, str])
    if msgspec.json.decode(request["route"]) != match.route.path:
        request["route"] = match.route.path
        request["params"] = {name: unquote(value) for name, value in match.params.items()}
    request["headers"] = {name: value for name, value in headers.items() if name not in hidden}
    kept: dict[str, Any] = {name: value for name, value in document.items() if name not in unwanted}
    return msgspec.json.encode(kept | {"request": request})


def _refused(stage: Stage, code: str) -> Outcome:
    return Outcome(allow=False, reason=code, stage=stage)
