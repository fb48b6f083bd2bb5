from __future__ import annotations

from pathlib import Path

import pytest

from apx.errors import PolicyRejected
from apx.policy.opa import Opa
from apx.policy.rules import changed_rules
from apx.policy.sources import closure

BEFORE = """package products.orders

import data.lib.access

default decision := {"allow": false, "reason": "no"}

decision := {"allow": true, "reason": "ok"} if {
\tinput.plan == "free"
\taccess.open
}

names contains name if some _, name in input.names

large if input.body.amount > 100
"""


def changes(opa: Opa, folder: Path, before: str, after: str) -> list[str]:
    sides = []
    for name, text in (("before", before), ("after", after)):
        root = folder / name
        root.mkdir()
        (root / "policy.rego").write_text(text)
        (root / "lib.rego").write_text("package lib.access\n\nopen := true\n")
        sides.append(closure(root, "products.orders"))
    return [f"{one.file}: {one.what} {one.change}" for one in changed_rules(opa, *sides)]


def test_layout_and_comments_are_no_change(opa: Opa, tmp_path: Path) -> None:
    after = "# METADATA\n# description: words\n" + BEFORE.replace(" if {\n\tinput", " if {\n\n\t# why\n\t\tinput")
    assert changes(opa, tmp_path, BEFORE, after) == []


def test_a_rule_is_named_once_whatever_changed_in_it(opa: Opa, tmp_path: Path) -> None:
    after = BEFORE.replace("> 100", "> 50").replace('"reason": "no"', '"reason": "never"')
    assert changes(opa, tmp_path, BEFORE, after) == [
        "policy.rego: default decision changed",
        "policy.rego: rule large changed",
    ]


def test_a_wildcard_before_it_does_not_change_a_rule(opa: Opa, tmp_path: Path) -> None:
    after = BEFORE.replace("names contains", "fresh if some _, 1 in input.names\n\nnames contains", 1)
    assert changes(opa, tmp_path, BEFORE, after) == ["policy.rego: rule fresh added"]


def test_rules_imports_and_files_come_and_go(opa: Opa, tmp_path: Path) -> None:
    after = BEFORE.replace("import data.lib.access\n", "").replace("\taccess.open\n", "")
    after = after.replace("large if input.body.amount > 100", "p.q := 1")
    assert changes(opa, tmp_path, BEFORE, after) == [
        "lib.rego: file removed",
        "policy.rego: import data.lib.access removed",
        "policy.rego: rule decision changed",
        "policy.rego: rule large removed",
        "policy.rego: rule p.q added",
    ]


def test_a_file_that_does_not_parse_is_named(opa: Opa, tmp_path: Path) -> None:
    with pytest.raises(PolicyRejected, match=r"policy\.rego"):
        changes(opa, tmp_path, BEFORE, BEFORE + "\nbroken if {")
