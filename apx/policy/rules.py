"""What changed in Rego sources: rules by name, as opa parses them, so that layout and comments are no change."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from apx.errors import PolicyRejected
from apx.policy.opa import Opa
from apx.policy.sources import Closure, Source, lay_out

Change = Literal["added", "removed", "changed"]
_WILDCARD = re.compile(r"\$[0-9]+")
Rules = dict[str, list[str]]
"""A rule's name → its bodies, each as canonical JSON, in the file's order: `else` and equal conditions depend on it."""


class RuleChange(msgspec.Struct, frozen=True, order=True):
    """One name of a file that is not what it was."""

    file: str
    """Under the policies' root."""
    what: str
    """`rule NAME`, `default NAME`, `import PATH` or `file`."""
    change: Change


def changed_rules(opa: Opa, before: Closure, after: Closure) -> list[RuleChange]:
    """Return what changed among the modules of two policies. Raises `PolicyRejected` for a file that does not parse."""
    old = {source.name: source for source in before.modules}
    new = {source.name: source for source in after.modules}
    found = [RuleChange(name, "file", "removed") for name in old.keys() - new.keys()]
    found += [RuleChange(name, "file", "added") for name in new.keys() - old.keys()]
    both = [name for name in old.keys() & new.keys() if old[name].content != new[name].content]
    before_rules = _parsed(opa, [old[name] for name in both])
    after_rules = _parsed(opa, [new[name] for name in both])
    for name in both:
        found += _compared(name, before_rules[name], after_rules[name])
    return sorted(found)


def _compared(file: str, old: Rules, new: Rules) -> Iterable[RuleChange]:
    for what in old.keys() | new.keys():
        if what not in new:
            yield RuleChange(file, what, "removed")
        elif what not in old:
            yield RuleChange(file, what, "added")
        elif old[what] != new[what]:
            yield RuleChange(file, what, "changed")


def _parsed(opa: Opa, sources: Sequence[Source]) -> dict[str, Rules]:
    with tempfile.TemporaryDirectory(prefix="apx-policy-") as temporary:
        lay_out(Path(temporary), sources)
        return {source.name: _parse(opa, Path(temporary), source.name) for source in sources}


def _parse(opa: Opa, folder: Path, name: str) -> Rules:
    completed = opa.run(["parse", "--format", "json", name], cwd=folder)
    if completed.status != 0:
        raise PolicyRejected(f"{name}: {completed.stderr.strip() or completed.stdout.decode(errors='replace').strip()}")
    module = json.loads(completed.stdout)
    rules: Rules = {}
    for imported in module.get("imports", []):
        rules.setdefault(f"import {_path(imported['path']['value'])}", []).append(str(imported.get("alias", "")))
    for rule in module.get("rules", []):
        kind = "default" if rule.get("default") else "rule"
        rules.setdefault(f"{kind} {_name(rule['head'])}", []).append(_canonical(rule))
    return rules


def _canonical(rule: dict[str, Any]) -> str:
    """Write a rule so that equal ones are equal texts: opa numbers `_` through the whole file."""
    numbers: dict[str, str] = {}
    text = json.dumps(rule, sort_keys=True)
    return _WILDCARD.sub(lambda found: numbers.setdefault(found[0], f"${len(numbers)}"), text)


def _name(head: dict[str, Any]) -> str:
    return _path(head["ref"]) if "ref" in head else str(head["name"])


def _path(steps: Sequence[dict[str, Any]]) -> str:
    return ".".join(str(step["value"]) for step in steps)
