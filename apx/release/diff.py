"""What a change says, in words: two releases of a product, one line for each difference, the most dangerous first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from apx.catalog.model import PlanSpec, Quota, Rate, Route
from apx.policy.rules import RuleChange
from apx.release.model import Manifest, Release

MOST_DATA_LINES = 20
"""A table of data that is exchanged is one line each up to here, and then a number."""
_LONGEST_VALUE = 60
_NOT_SHOWN = frozenset({"jwks", "headers", "description"})


class Danger(IntEnum):
    """What a difference can do to clients."""

    BREAKS = 0
    """Requests that were served are not."""
    RISKS = 1
    """Decisions or limits may refuse what was let through, let through what was refused, or the judge sees less."""
    CHANGES = 2
    """Something runs otherwise."""
    ADDS = 3
    """Something is there beside what was, or is only said otherwise."""


class Line(msgspec.Struct, frozen=True, order=True):
    """One difference."""

    danger: Danger
    text: str


def differences(before: Release, after: Release, rules: Sequence[RuleChange] | None) -> list[Line]:
    """Say how two releases of one product differ.

    `rules` are the changes of the policy's sources; None where they are not at hand, as a release holds none.
    """
    old, new = before.manifest, after.manifest
    return sorted(
        [
            *_routes(old.spec.routes, new.spec.routes),
            *_plans(old.plans, new.plans),
            *_policy(old, new, rules),
            *_data(before.data, after.data),
            *_openapi(old, new),
            *_spec(old, new),
        ]
    )


def _routes(old: Sequence[Route], new: Sequence[Route]) -> Iterator[Line]:
    before, after = _by_path(old), _by_path(new)
    for path in before.keys() | after.keys():
        was, now = before.get(path, {}), after.get(path, {})
        if not now:
            yield Line(Danger.BREAKS, f"route {path} removed ({_listed(was)})")
        elif not was:
            yield Line(Danger.ADDS, f"route {path} added ({_listed(now)})")
        else:
            if was.keys() != now.keys():
                danger = Danger.BREAKS if was.keys() - now.keys() else Danger.ADDS
                yield Line(danger, f"route {path}: methods {_listed(was)} -> {_listed(now)}")
            yield from _bounds(path, was, now)


def _by_path(routes: Sequence[Route]) -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in routes:
        found.setdefault(route.path, {}).update(dict.fromkeys(route.methods, route))
    return found


def _bounds(path: str, was: Mapping[str, Route], now: Mapping[str, Route]) -> Iterator[Line]:
    changed: dict[tuple[Danger, str], list[str]] = {}
    for method in sorted(was.keys() & now.keys()):
        slow, fast = was[method].rate, now[method].rate
        if slow != fast:
            danger = Danger.RISKS if _is_less(slow, fast) else Danger.CHANGES
            changed.setdefault((danger, f"rate {_rate(slow)} -> {_rate(fast)}"), []).append(method)
        for name in ("timeout_s", "max_body_bytes"):
            before, after = getattr(was[method], name), getattr(now[method], name)
            if before != after:
                danger = _by_size(before, after)
                changed.setdefault((danger, f"{name} {_shown(before)} -> {_shown(after)}"), []).append(method)
    for (danger, text), methods in changed.items():
        which = "" if len(methods) == len(now) else f"{', '.join(methods)} "
        yield Line(danger, f"route {which}{path}: {text}")


def _plans(old: Mapping[str, PlanSpec], new: Mapping[str, PlanSpec]) -> Iterator[Line]:
    for name in old.keys() | new.keys():
        if name not in new:
            yield Line(Danger.BREAKS, f"plan {name} is no longer offered")
        elif name not in old:
            yield Line(Danger.ADDS, f"plan {name} is offered ({_rate(new[name].rate)})")
        elif old[name] != new[name]:
            yield from _plan(name, old[name], new[name])


def _plan(name: str, old: PlanSpec, new: PlanSpec) -> Iterator[Line]:
    for field in ("rate", "org_rate"):
        was, now = getattr(old, field), getattr(new, field)
        if was != now:
            danger = Danger.RISKS if _is_less(was, now) else Danger.CHANGES
            yield Line(danger, f"plan {name}: {field} {_rate(was)} -> {_rate(now)}")
    yield from _quotas(name, old.quotas, new.quotas)
    if old.limits_mode != new.limits_mode:
        danger = Danger.RISKS if new.limits_mode == "enforce" else Danger.CHANGES
        yield Line(danger, f"plan {name}: limits_mode {old.limits_mode} -> {new.limits_mode}")
    for field in ("max_timeout_s", "max_body_bytes", "priority", "title"):
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            danger = Danger.ADDS if field == "title" else _by_size(before, after)
            yield Line(danger, f"plan {name}: {field} {_shown(before)} -> {_shown(after)}")


def _is_less(was: Rate | None, now: Rate | None) -> bool:
    if was is None or now is None:
        return was is None
    return now.per_second < was.per_second or now.burst < was.burst


def _quotas(plan: str, old: Sequence[Quota], new: Sequence[Quota]) -> Iterator[Line]:
    before, after = {quota.name: quota for quota in old}, {quota.name: quota for quota in new}
    for name in before.keys() | after.keys():
        was, now = before.get(name), after.get(name)
        if was != now:
            looser = now is None or (was is not None and _same_count(was, now) and now.requests > was.requests)
            danger = Danger.CHANGES if looser else Danger.RISKS
            yield Line(danger, f"plan {plan}: quota {name} {_quota(was)} -> {_quota(now)}")


def _same_count(was: Quota, now: Quota) -> bool:
    return (was.per, was.of) == (now.per, now.of)


def _quota(quota: Quota | None) -> str:
    return "none" if quota is None else f"{quota.requests} each {quota.per} of each {quota.of}"


def _policy(old: Manifest, new: Manifest, rules: Sequence[RuleChange] | None) -> Iterator[Line]:
    for rule in rules or ():
        yield Line(Danger.RISKS, f"policy {rule.file}: {rule.what} {rule.change}")
    if old.compiler != new.compiler:
        yield Line(Danger.CHANGES, f"compiled by opa {new.compiler.opa}, before by {old.compiler.opa}")
    elif not rules and old.policy.wasm != new.policy.wasm:
        if rules is None:
            yield Line(Danger.RISKS, "the compiled policy changed; a release holds no sources that say where")
        else:
            yield Line(Danger.ADDS, "the policy's sources changed in their layout or comments alone")
    if new.tests.passed < old.tests.passed:
        yield Line(Danger.CHANGES, f"the policy has {new.tests.passed} tests, before {old.tests.passed}")


def _data(old: bytes, new: bytes) -> Iterator[Line]:
    if old == new:
        return
    lines = [
        Line(Danger.RISKS, f"data {path} {text}")
        for path, text in _changed(_flat("", msgspec.json.decode(old)), _flat("", msgspec.json.decode(new)))
    ]
    yield from lines[:MOST_DATA_LINES]
    if len(lines) > MOST_DATA_LINES:
        yield Line(Danger.RISKS, f"data: {len(lines) - MOST_DATA_LINES} more values changed")


def _openapi(old: Manifest, new: Manifest) -> Iterator[Line]:
    if old.openapi != new.openapi and old.openapi and new.openapi:
        danger = Danger.RISKS if new.spec.openapi_mode == "enforce" else Danger.CHANGES
        yield Line(danger, "the OpenAPI document that requests are held against changed")


def _spec(old: Manifest, new: Manifest) -> Iterator[Line]:
    before, after = _flat_spec(old), _flat_spec(new)
    for path, text in _changed(before, after):
        yield Line(_danger(path, before.get(path), after.get(path)), f"{path.replace('.', ' ')} {text}")


def _flat_spec(manifest: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = msgspec.to_builtins(manifest.spec)
    return _flat("", {name: value for name, value in spec.items() if name not in ("routes", "plans")})


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path in sorted(old.keys() | new.keys()):
        if path not in new:
            yield path, "removed"
        elif path not in old:
            yield path, "added" if _is_hidden(path) else f"added: {_shown(new[path])}"
        elif old[path] != new[path]:
            yield path, "changed" if _is_hidden(path) else f"{_shown(old[path])} -> {_shown(new[path])}"


def _is_hidden(path: str) -> bool:
    """Tell whether a value is too long to show, or nobody's business."""
    return not _NOT_SHOWN.isdisjoint(path.split("."))


def _flat(path: str, value: Any) -> dict[str, Any]:
    """Return path → value of all that is no mapping."""
    if not isinstance(value, dict) or not value:
        return {path: value} if path else {}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(f"{path}.{name}" if path else str(name), inner)
    return found


_BREAKING = ("base_path", "mode", "auth")
_LIMITS = ("deadline_s", "retention_s", "backlog", "concurrency_per_org", "concurrency", "timeout_s")
_SAID = ("title", "description", "owner", "slo")


def _danger(path: str, old: Any, new: Any) -> Danger:
    first, last = path.partition(".")[0], path.rpartition(".")[2]
    if first in _BREAKING:
        return Danger.BREAKS
    if first in _SAID:
        return Danger.ADDS
    if path.startswith("rollout.judge."):
        return _by_size(new, old)
    if first in ("policy", "openapi", "openapi_mode") or path in (
        "backend.url",
        "backend.allow_private",
        "rollout.steps",
    ):
        return Danger.RISKS
    return _by_size(old, new) if last in _LIMITS or last == "max_response_bytes" else Danger.CHANGES


def _by_size(old: Any, new: Any) -> Danger:
    """Say that a limit tightens when it gets smaller, or is there for the first time."""
    smaller = new is not None and (old is None or new < old)
    return Danger.RISKS if smaller else Danger.CHANGES


def _rate(rate: Rate | None) -> str:
    return "none" if rate is None else f"{rate.per_second:g}/s burst {rate.burst}"


def _listed(methods: Mapping[str, Route]) -> str:
    return ", ".join(sorted(methods))


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
