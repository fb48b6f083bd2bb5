from __future__ import annotations

from stacks.diagram import SHOWN, diagram
from tests.stacks.plans import ROOT, Plan


def test_the_picture_in_the_docs_is_of_these_stacks(prod: Plan) -> None:
    documents = {f"prod-{name}": document for name, document in prod.stacks.items()}
    says = "make it again: ./dev synth --environment prod && .venv/bin/python -m stacks.diagram cdktf.out prod"
    assert f"```mermaid\n{diagram(documents, 'prod')}```" in (ROOT / "docs" / "cloud.md").read_text(), says


def test_everything_that_is_drawn_is_there(prod: Plan) -> None:
    there = {resource.type for resource in prod.resources()}
    assert SHOWN.keys() - there == {"google_container_node_pool"}  # only in mode standard
