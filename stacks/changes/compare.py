"""What differs between two syntheses, as Terraform would see it: names and values, not their order in the file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from stacks.changes.forces import replacement
from stacks.changes.model import Address, Body, Delta, Difference, Kind, Part, Replacement, unindexed
from stacks.changes.sets import is_set
from stacks.changes.synthesised import Tree

JSON_TEXTS = frozenset({("google_bigquery_table", "schema"), ("google_monitoring_dashboard", "dashboard_json")})
"""Texts that the provider compares as JSON, so that their layout is no change."""
IDENTITY = frozenset(
    {
        *("name", "account_id", "bucket", "bucket_id", "collection", "condition", "crypto_key_id", "database"),
        *("dataset_id", "display_name", "domain", "field", "hostname", "instance_id", "key_ring", "location", "map"),
        *("member", "project", "region", "repository", "repository_id", "role", "role_id", "secret_id", "service"),
        *("service_account_id", "service_id", "slo_id", "subscription", "table_id", "topic", "web_backend_service"),
        *("workload_identity_pool_id", "workload_identity_pool_provider_id"),
    }
)
"""The attributes that say which thing in the cloud an address stands for."""
Path = tuple[str, ...]
_INDEX = re.compile(r"\[\d+\]")


def compare(before: Tree, after: Tree) -> list[Delta]:
    """Return what differs between two trees of one environment, by address; nothing where they mean the same."""
    moved = _moved(before, after)
    gone = set(moved.values())
    found = []
    for address in sorted({*before, *after} - gone):
        source = moved.get(address, address)
        delta = _delta(address, before.get(source), after.get(address))
        if source != address:
            delta = msgspec.structs.replace(delta, kind=Kind.REPLACED, moved_from=source)
        if delta.differences or delta.kind is not Kind.CHANGED:
            found.append(delta)
    return found


def _delta(address: Address, before: Body | None, after: Body | None) -> Delta:
    if before is None or after is None:
        return Delta(address, Kind.ADDED if before is None else Kind.DESTROYED, before, after)
    differences = tuple(_marked(address, one, after) for one in differing(address.type, before, after))
    return Delta(address, _kind(differences), before, after, differences)


def _marked(address: Address, one: Difference, after: Body) -> Difference:
    """Say whether the difference replaces a resource; nothing else is, and nothing for what Terraform ignores."""
    if address.part is not Part.RESOURCE or _ignored(one.path, after):
        return one
    return msgspec.structs.replace(one, replacement=replacement(address.type, one.path))


def _ignored(path: Path, after: Body) -> bool:
    dotted = ".".join(unindexed(path))
    ignored = (after.get("lifecycle") or {}).get("ignore_changes") or ()
    names = [_INDEX.sub("", str(name)) for name in ignored]
    return any(dotted == name or dotted.startswith(f"{name}.") for name in names)


def _kind(differences: Sequence[Difference]) -> Kind:
    forced = any(one.replacement is Replacement.YES for one in differences)
    return Kind.REPLACED if forced else Kind.CHANGED


def differing(type_: str, before: Any, after: Any, path: Path = ()) -> Iterator[Difference]:
    """Yield the attributes of a type that differ, the deepest that have a name."""
    if (type_, ".".join(path)) in JSON_TEXTS:
        before, after = _parsed(before), _parsed(after)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            yield from differing(type_, before.get(name), after.get(name), (*path, name))
    elif isinstance(before, list) and isinstance(after, list):
        yield from _lists(type_, before, after, path)
    elif canonical(type_, before, path) != canonical(type_, after, path):
        yield Difference(path, before, after)


def _lists(type_: str, before: list[Any], after: list[Any], path: Path) -> Iterator[Difference]:
    if len(before) == len(after) and not is_set(type_, path):
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differing(type_, old, new, (*path, f"[{i}]"))
        return
    inside = (*path, "[]")
    old, new = ([canonical(type_, item, inside) for item in items] for items in (before, after))
    less, more = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if is_set(type_, path):
        less, more = Counter(set(old) - set(new)), Counter(set(new) - set(old))
    for text in less.elements():
        yield Difference(inside, before[old.index(text)], None)
    for text in more.elements():
        yield Difference(inside, None, after[new.index(text)])


def canonical(type_: str, value: Any, path: Path = ()) -> str:
    """Return a value as text that is the same for whatever Terraform takes for the same."""
    return json.dumps(_ordered(type_, value, path), sort_keys=True)


def _ordered(type_: str, value: Any, path: Path) -> Any:
    if isinstance(value, Mapping):
        return {name: _ordered(type_, part, (*path, name)) for name, part in value.items()}
    if isinstance(value, list):
        items = [_ordered(type_, item, (*path, "[]")) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if is_set(type_, path) else items
    return value


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except json.JSONDecodeError:
        return text


def _moved(before: Tree, after: Tree) -> dict[Address, Address]:
    """Return where resources stood that have another address now: same type, same identity, one of each."""
    went, came = _by_identity(before, set(before) - set(after)), _by_identity(after, set(after) - set(before))
    return {came[key][0]: went[key][0] for key in sorted(came) if len(came[key]) == len(went.get(key, ())) == 1}


def _by_identity(tree: Tree, addresses: set[Address]) -> dict[str, list[Address]]:
    found: dict[str, list[Address]] = {}
    for address in sorted(addresses):
        if address.part is Part.RESOURCE and (identity := _identity(tree[address])):
            found.setdefault(f"{address.type} {json.dumps(identity, sort_keys=True)}", []).append(address)
    return found


def _identity(body: Body) -> dict[str, Any]:
    """Return what names the thing in the cloud; empty when nothing does, so that nothing counts as moved."""
    named = {name: value for name, value in body.items() if name in IDENTITY}
    for block in (body.get("metadata"), (body.get("manifest") or {}).get("metadata")):
        if isinstance(block, Mapping):
            named["metadata"] = {name: block.get(name) for name in ("name", "namespace")}
    if manifest := body.get("manifest"):
        named["kind"] = manifest.get("kind")
    return named
