"""Copies of the example tree that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

from apx.local.platform import REPOSITORY

_ORG = """# yaml-language-server: $schema=../schemas/org.json
apiVersion: apx.dev/v1
kind: Org
metadata:
  name: {name}
spec:
  title: {name}
  region: us
  contacts: [api@{name}.example]
  entitlements:
    orders: enterprise
    forecast: enterprise
"""


def copied(folder: Path) -> Path:
    """Return a copy of the example tree."""
    return Path(shutil.copytree(REPOSITORY / "gitops", folder / "gitops"))


def with_orgs(tree: Path, names: list[str]) -> Path:
    """Add orgs to a tree."""
    for name in names:
        (tree / "orgs" / f"{name}.yaml").write_text(_ORG.format(name=name))
    return tree


def edit(path: Path, before: str, after: str) -> None:
    """Replace the one place where `before` stands."""
    text = path.read_text()
    assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times in {path}"
    path.write_text(text.replace(before, after))
