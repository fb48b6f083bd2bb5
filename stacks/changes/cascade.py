"""What is replaced only because what it names is: `database = ${google_firestore_database.x.name}`.

Within a stack Terraform knows none of a replaced resource's computed attributes before it is applied, so that every
attribute which forces replacement and names one does so. An attribute that was configured keeps its value, unless
that is what changed. In a later stack the earlier one is applied already: a computed attribute may have come out as it
was, so that the replacement is only possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from stacks.changes.forces import replacement
from stacks.changes.model import Address, Delta, Difference, Kind, Part, Replacement, unindexed
from stacks.changes.synthesised import Tree

_RESOURCE = re.compile(r"\b((?:google|kubernetes)_[a-z0-9_]+)\.([\w-]+)((?:\.[a-z_0-9]+|\[\d+\])+)")
_OUTPUT = re.compile(r"\bdata\.terraform_remote_state\.cross-stack-reference-input-([\w-]+?)\.outputs\.([\w-]+)")


class Reference(msgspec.Struct, frozen=True):
    """An attribute of another resource that a value is made of."""

    address: Address
    attribute: tuple[str, ...]
    """Its path, without indexes."""
    across: bool
    """It is in another stack."""


def cascade(deltas: Sequence[Delta], after: Tree, environment: str) -> list[Delta]:
    """Return the deltas with what they entail, until nothing more follows."""
    found = {delta.address: delta for delta in deltas}
    known = {address: body for address, body in after.items() if address.part is Part.RESOURCE}
    named = {address: list(_named(address, known[address], after, environment)) for address in known}
    while more := dict(_entailed(found, named, after)):
        found.update(more)
    return [found[address] for address in sorted(found)]


def _entailed(
    found: Mapping[Address, Delta], named: Mapping[Address, list[tuple[tuple[str, ...], str, Reference]]], after: Tree
) -> Iterator[tuple[Address, Delta]]:
    for address, references in named.items():
        delta = found.get(address) or Delta(address, Kind.CHANGED, after[address], after[address])
        if delta.kind is Kind.ADDED or delta.moved_from:
            continue
        told = {one.path for one in delta.differences}
        new = [one for one in _follows(address, references, found) if one.path not in told]
        if new:
            yield address, _with(delta, new)


def _with(delta: Delta, new: Sequence[Difference]) -> Delta:
    differences = (*delta.differences, *new)
    forced = any(one.replacement is Replacement.YES for one in differences)
    return msgspec.structs.replace(
        delta, kind=Kind.REPLACED if forced else delta.kind, differences=tuple(dict.fromkeys(differences))
    )


def _follows(
    address: Address, references: Sequence[tuple[tuple[str, ...], str, Reference]], found: Mapping[Address, Delta]
) -> Iterator[Difference]:
    seen = set()
    for path, text, reference in references:
        forced = replacement(address.type, path)
        changed = _changes(found.get(reference.address), reference)
        if forced is Replacement.YES and changed is not Replacement.NO and path not in seen:
            seen.add(path)
            because = f"{reference.address} is {'replaced' if changed is Replacement.YES else 'perhaps replaced'}"
            yield Difference(path, text, text, changed, because)


def _changes(delta: Delta | None, reference: Reference) -> Replacement:
    """Say whether an attribute of a resource has another value afterwards."""
    if delta is None or delta.kind not in (Kind.CHANGED, Kind.REPLACED):
        return Replacement.NO
    touched = [one for one in delta.differences if _overlap(unindexed(one.path), reference.attribute)]
    if touched:
        return max((_certain(one) for one in touched), key=list(Replacement).index)
    configured = delta.after is not None and reference.attribute[0] in delta.after
    if delta.kind is Kind.CHANGED or configured:
        return Replacement.NO
    return Replacement.MAY if reference.across else Replacement.YES


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Say whether one path is the other, or leads to it."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _certain(one: Difference) -> Replacement:
    """Return how certain it is that a value is another: what follows from a perhaps is a perhaps."""
    return one.replacement if one.because else Replacement.YES


def _named(
    address: Address, body: Mapping[str, Any], after: Tree, environment: str
) -> Iterator[tuple[tuple[str, ...], str, Reference]]:
    for path, text in _texts(body):
        if path[0] in ("depends_on", "lifecycle"):
            continue
        for type_, name, attribute in _RESOURCE.findall(text):
            yield path, text, _reference(address.stack, type_, name, attribute, across=False)
        for stack, output in _OUTPUT.findall(text):
            yield from ((path, text, one) for one in _outputs(stack.removeprefix(f"{environment}-"), output, after))


def _outputs(stack: str, output: str, after: Tree) -> Iterator[Reference]:
    body = after.get(Address(stack, Part.OUTPUT, "", output), {})
    for type_, name, attribute in _RESOURCE.findall(str(body.get("value", ""))):
        yield _reference(stack, type_, name, attribute, across=True)


def _reference(stack: str, type_: str, name: str, attribute: str, *, across: bool) -> Reference:
    path = tuple(re.findall(r"[a-z_][a-z_0-9]*", attribute))
    return Reference(Address(stack, Part.RESOURCE, type_, name), path, across)


def _texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _texts(part, (*path, name))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _texts(part, (*path, f"[{i}]"))
    elif isinstance(value, str) and "${" in value:
        yield path, value
