from __future__ import annotations

import re

from apx.catalog.reference import with_reference
from tests.unit.catalog.broken_trees import NAMES, expected_file
from tests.unit.catalog.conftest import EXAMPLE

PAGE = EXAMPLE.parent / "docs" / "gitops.md"


def test_the_page_lists_the_fields_that_there_are() -> None:
    page = PAGE.read_text()
    assert page == with_reference(page), "to accept: python -m apx.catalog.reference docs/gitops.md"


def test_each_code_of_the_page_has_a_broken_tree() -> None:
    section = PAGE.read_text().partition("## Rules among them")[2].partition("\n##")[0]
    named = {
        code
        for row in section.splitlines()
        if row.startswith("|")
        for code in re.findall(r"`([a-z-]+)`", row.rsplit("|", 2)[1])
    }
    covered = {
        code
        for name in NAMES
        for code in re.findall(r"\[([a-z0-9-]+)\]$", expected_file(name).read_text(), re.MULTILINE)
    }
    assert named - covered == {"name-case-collision"}  # not every file system can hold that tree
