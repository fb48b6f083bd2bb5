"""What a change is: of one thing of one stack, with what differs in it and why that may be dangerous.

Values are shortened where they are told, never where they are judged: a `Delta` has them whole, a `Change` short.
Nothing in the stacks is secret: values of secrets are added by hand and are in no commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

LONGEST_VALUE = 160
Body = Mapping[str, Any]
"""A resource as Terraform would read it, without CDKTF's `//`."""


class Kind(StrEnum):
    """What Terraform would do."""

    ADDED = "added"
    CHANGED = "changed"
    REPLACED = "replaced"
    DESTROYED = "destroyed"


class Part(StrEnum):
    """What kind of thing an address names."""

    RESOURCE = "resource"
    DATA = "data"
    OUTPUT = "output"
    SETTING = "setting"
    """A provider, a variable, or where the state is."""


class Replacement(StrEnum):
    """Whether a change of an attribute makes Terraform destroy the thing and create it again."""

    NO = "no"
    MAY = "may"
    YES = "yes"


class Severity(StrEnum):
    """How a reviewer should read a danger: `high` first."""

    HIGH = "high"
    MEDIUM = "medium"


class Address(msgspec.Struct, frozen=True, order=True):
    """Where a thing stands; `stack` without the environment: `data`, `cluster-us-central1`."""

    stack: str
    part: Part
    type: str
    name: str

    def __str__(self) -> str:
        """Return it as Terraform writes addresses, in its stack."""
        prefix = "" if self.part is Part.RESOURCE else f"{self.part}."
        return f"{self.stack}: {prefix}{self.type}.{self.name}" if self.type else f"{self.stack}: {prefix}{self.name}"


class Difference(msgspec.Struct, frozen=True):
    """One attribute that differs; `before` or `after` is None where it is not there."""

    path: tuple[str, ...]
    """Names, `[2]` for an item of a list, and `[]` for an item of a set or of a list that got longer or shorter."""
    before: Any
    after: Any
    replacement: Replacement = Replacement.NO
    because: str = ""
    """Why the value would differ although its text does not: what it names is replaced."""

    @property
    def dotted(self) -> str:
        """Return the path as people write it: `spec.template.container[0].image`."""
        return ".".join(self.path).replace(".[", "[")


class Delta(msgspec.Struct, frozen=True):
    """One thing that differs, with its values whole."""

    address: Address
    kind: Kind
    before: Body | None
    after: Body | None
    differences: tuple[Difference, ...] = ()
    moved_from: Address | None = None

    @property
    def type(self) -> str:
        """Return the resource's type."""
        return self.address.type

    def at(self, side: str, *path: str) -> Any:
        """Return the value at a path `before` or `after`, as `at` finds it."""
        return at(self.before if side == "before" else self.after, *path)

    def both(self, *path: str) -> tuple[Any, Any]:
        """Return the values at a path before and after."""
        return self.at("before", *path), self.at("after", *path)


class Danger(msgspec.Struct, frozen=True):
    """Why somebody should look twice."""

    rule: str
    """A stable name: `data-loss`, `iam-widened`."""
    severity: Severity
    says: str
    """One sentence, without the address."""


class Attribute(msgspec.Struct, frozen=True):
    """A difference as it is told."""

    path: str
    before: str | None
    after: str | None
    replacement: Replacement = Replacement.NO
    because: str = ""


class Change(msgspec.Struct, frozen=True):
    """A delta as it is told."""

    stack: str
    part: Part
    type: str
    name: str
    kind: Kind
    attributes: tuple[Attribute, ...] = ()
    moved_from: str = ""
    """The address it had: Terraform would destroy and create, as there is no `moved` block."""
    dangers: tuple[Danger, ...] = ()

    @property
    def forced_by(self) -> tuple[str, ...]:
        """Return the attributes that force the replacement."""
        return tuple(one.path for one in self.attributes if one.replacement is Replacement.YES)

    @property
    def may_be_replaced_by(self) -> tuple[str, ...]:
        """Return the attributes of which nobody has said that they do not force a replacement."""
        return tuple(one.path for one in self.attributes if one.replacement is Replacement.MAY)


class Presence(StrEnum):
    """On which side an environment is."""

    BOTH = "both"
    ADDED = "added"
    REMOVED = "removed"


class EnvironmentChanges(msgspec.Struct, frozen=True):
    """What differs in one environment, by stack."""

    name: str
    presence: Presence
    changes: tuple[Change, ...] = ()

    @property
    def differs(self) -> bool:
        """Say whether anything is to be told."""
        return self.presence is not Presence.BOTH or bool(self.changes)


class Report(msgspec.Struct, frozen=True):
    """What is told of two sides."""

    base: str
    head: str
    environments: tuple[EnvironmentChanges, ...]

    @property
    def differs(self) -> bool:
        """Say whether anything is to be told."""
        return any(one.differs for one in self.environments)

    def dangers(self) -> Iterator[tuple[EnvironmentChanges, Change, Danger]]:
        """Yield every danger, the high ones first."""
        found = [(env, one, danger) for env in self.environments for one in env.changes for danger in one.dangers]
        return iter(sorted(found, key=lambda item: item[2].severity is not Severity.HIGH))


def at(value: Any, *path: str) -> Any:
    """Return what stands at a path in a value, through blocks written as lists of one; None without one."""
    for name in path:
        if isinstance(value, list):
            value = value[0] if value else None
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def unindexed(path: Sequence[str]) -> tuple[str, ...]:
    """Return a path without its indexes: the names alone."""
    return tuple(name for name in path if not name.startswith("["))


def shortened(value: Any) -> str | None:
    """Return a value on one line and cut to a bearable length; None for a value that is not there."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def told(delta: Delta, dangers: tuple[Danger, ...]) -> Change:
    """Return a delta with its values shortened."""
    address = delta.address
    return Change(
        address.stack,
        address.part,
        address.type,
        address.name,
        delta.kind,
        tuple(_attribute(one) for one in delta.differences),
        str(delta.moved_from) if delta.moved_from else "",
        dangers,
    )


def _attribute(one: Difference) -> Attribute:
    before, after = shortened(one.before), shortened(one.after)
    if before == after and not one.because:  # what differs was cut off
        before, after = _around(one.before, one.after), _around(one.after, one.before)
    return Attribute(one.dotted, before, after, one.replacement, one.because)


def _around(value: Any, other: Any) -> str:
    """Return the part of a long text in which it differs from another."""
    text, against = (one if isinstance(one, str) else json.dumps(one, sort_keys=True) for one in (value, other))
    start = next(
        (i for i, (a, b) in enumerate(zip(text, against, strict=False)) if a != b), min(map(len, (text, against)))
    )
    start = max(0, start - 30)
    return f"…{shortened(repr(text[start : start + LONGEST_VALUE - 10]))}"
