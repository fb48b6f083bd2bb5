"""The OpenAPI document travels in the release: stored, signed, loaded, and named where it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apx.errors import ReleaseRejected
from apx.release.digest import blob_of
from apx.release.load import Loader
from tests.unit.release.examples import TRUSTED
from tests.unit.release.test_build import Bench, bench, cache, edit
from tests.unit.release.test_diff import release, said

__all__ = ["bench", "cache"]  # fixtures
PRODUCT = "products/orders/product.yaml"
DOCUMENT = """\
openapi: 3.1.0
info: {title: Orders, version: "1"}
paths: {/: {post: {requestBody: {content: {application/json: {schema: {type: object}}}}}}}
"""


def name_document(root: Path, text: str = DOCUMENT) -> None:
    (root / "products/orders/openapi.yaml").write_text(text)
    edit(root, PRODUCT, "  plans:", "  openapi: openapi.yaml\n  plans:")


async def test_the_document_is_loaded_with_the_release(bench: Bench) -> None:
    name_document(bench.root)
    (built,) = await bench.build()
    loaded = await Loader(bench.store, TRUSTED).load(built.digest)
    assert loaded.openapi is not None
    assert b'"post"' in loaded.openapi
    assert loaded.manifest.openapi == blob_of(loaded.openapi)


async def test_a_change_of_the_document_is_a_new_release_and_a_comment_is_not(bench: Bench) -> None:
    name_document(bench.root)
    digests = [(await bench.build())[0].digest]
    for old, new in (("openapi: 3.1.0", "# a comment\nopenapi: 3.1.0"), ("type: object", "type: array")):
        edit(bench.root, "products/orders/openapi.yaml", old, new)
        digests.append((await bench.build())[0].digest)
    assert digests[0] == digests[1] != digests[2]


async def test_a_damaged_document_is_rejected(bench: Bench) -> None:
    name_document(bench.root)
    (built,) = await bench.build()
    loaded = await Loader(bench.store, TRUSTED).load(built.digest)
    assert loaded.openapi is not None
    (bench.shelf / "blobs" / blob_of(loaded.openapi).digest.removeprefix("sha256:")).write_bytes(b" ")
    with pytest.raises(ReleaseRejected, match="OpenAPI document"):
        await Loader(bench.store, TRUSTED).load(built.digest)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"openapi": "a.yaml"}, "risks: openapi none -> a.yaml"),
        ({"openapi_mode": "observe"}, {"openapi_mode": "enforce"}, "risks: openapi_mode observe -> enforce"),
    ],
)
def test_requests_that_are_newly_held_against_a_document_are_told(
    before: dict[str, Any], after: dict[str, Any], line: str
) -> None:
    assert said(release(**before), release(**after)) == [line]
