"""Whatever the files hold: mistakes or a catalog, never an exception."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apx.catalog.document import read_document
from apx.catalog.load import find_mistakes
from apx.catalog.resources import OrgResource, PlanResource, ProductResource
from apx.catalog.structure import structure
from apx.catalog.urls import UrlRefused, read_url
from tests.unit.catalog.conftest import EXAMPLE

FILES = sorted(
    str(file.relative_to(EXAMPLE)) for kind in ("products", "plans", "orgs") for file in (EXAMPLE / kind).rglob("*.*")
)
_WORDS = (
    rb"""& * &a *a !!python/none <<: --- ... %YAML ? - : [ ] { } | > ' " # null ~ true no 010 0x1f 1:30 .nan -.inf """
    rb"1e999 9223372036854775808 -1 0 http://[ // {id} {rest=**} .. %2f /v1 spec:"
).split()
_BYTES = [
    b"\t",
    b"\r",
    b"\n",
    b"\n  ",
    b"---\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xc2\x85",
    b"\xf0\x9f\x92\xa5",
]
POISON = st.sampled_from([*_WORDS, *(word + b" " for word in _WORDS), *_BYTES])


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A change that does to one file what hands, merges and attackers do."""
    at, length, poison = (
        draw(st.floats(0, 1)),
        draw(st.integers(0, 60)),
        draw(st.one_of(POISON, st.binary(max_size=20))),
    )
    kind = draw(st.sampled_from(["insert", "replace", "delete", "repeat", "cut"]))

    def apply(text: bytes) -> bytes:
        start = int(at * len(text))
        before, middle, after = text[:start], text[start : start + length], text[start + length :]
        changed = {
            "insert": before + poison + middle + after,
            "replace": before + poison + after,
            "delete": before + after,
            "repeat": before + middle * 2 + after,
            "cut": before,
        }
        return changed[kind]

    return apply


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("fuzz") / "gitops"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(file=st.sampled_from(FILES), changes=st.lists(damage(), min_size=1, max_size=4))
def test_a_damaged_example_is_judged_and_never_raises(
    shared: Path, file: str, changes: list[Callable[[bytes], bytes]]
) -> None:
    original = (EXAMPLE / file).read_bytes()
    damaged = original
    for change in changes:
        damaged = change(damaged)
    (shared / file).write_bytes(damaged)
    try:
        catalog, mistakes = find_mistakes(shared)
    finally:
        (shared / file).write_bytes(original)
    assert (catalog is None) == bool(mistakes)
    lines = damaged.count(b"\n") + damaged.count(b"\r") + 2
    for mistake in mistakes:
        assert str(mistake).isprintable()
        assert mistake.file != f"gitops/{file}" or 1 <= mistake.line <= lines
        assert mistake.column >= 1


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass"))))
def test_any_bytes_are_a_document_or_mistakes(raw: bytes) -> None:
    document, mistakes = read_document("file", raw, "# modeline")
    assert document is not None or mistakes


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES, st.sampled_from([ProductResource, PlanResource, OrgResource]))
def test_any_value_is_structured_or_has_mistakes(value: object, kind: type[PlanResource]) -> None:
    document, _ = read_document("file", yaml.safe_dump(value, allow_unicode=True).encode(), "# modeline")
    if document is not None:
        structured = structure(document, kind)
        assert structured.mistakes


@settings(deadline=None)
@given(st.text("/[]abc019xf_%.;:@?#\\ é", max_size=30), st.sampled_from(["", "http://", "https://["]))
def test_any_text_is_an_address_or_is_refused(text: str, before: str) -> None:
    try:
        code = "" if read_url(before + text).host else "no host"
    except UrlRefused as refused:
        code = refused.code
    assert code == "" or code.startswith("url-")
