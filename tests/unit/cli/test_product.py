"""`apx product import`: a product from an OpenAPI document, which `apx validate` takes unedited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from apx.catalog.load import load_catalog
from apx.cli.product import run
from apx.errors import Conflict, InvalidCatalog
from apx.policy.opa import Opa
from apx.policy.test import run_tests

GOLDEN = Path(__file__).parents[2] / "golden"
LIBRARY = GOLDEN / "openapi" / "library.yaml"
SMALL = {"openapi": "3.0.0", "info": {"title": "4 Pets"}, "paths": {"/pets": {"get": {}, "post": {}}}}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "broken_base", tmp_path / "gitops"))


def written(tmp_path: Path, **changes: object) -> Path:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(SMALL | changes))
    return file


def test_a_document_with_all_that_broke_an_import_becomes_a_product(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(LIBRARY, name=None, out=tree)
    product = load_catalog(tree).products["the-library-books-loans"]
    assert [(route.path, route.methods) for route in product.spec.routes] == [
        ("/", ("GET",)),
        ("/books/{book_id}", ("GET", "PUT")),
        ("/members/{member_id}/books/{member_id_2}", ("GET",)),
    ]
    assert (product.spec.base_path, product.spec.backend.url) == (
        "/the-library-books-loans",
        "https://eu.library.example/api/1.0",
    )
    said = capsys.readouterr().out
    for left_out in ("/books/ (", "/books/{isbn} (", "/books/{bookId}:lend (", "/shelf ("):
        assert f"left out: {left_out}" in said
    for taken_out in ("jsonSchemaDialect", "pattern", "schemas.Loop", "parameters[3]"):
        assert taken_out in said


def test_its_policy_is_tested(tree: Path) -> None:
    run(LIBRARY, name="library", out=tree)
    report = run_tests(Opa.find(), tree / "policies", "products.library")
    assert (report.passed, report.failed) == (2, ())


def test_what_has_to_be_decided_stands_beside(tree: Path) -> None:
    run(LIBRARY, name="library", out=tree)
    text = (tree / "products/library/product.yaml").read_text()
    for said in ("owner: to-fill-in", "# max_body_bytes:", "# timeout_s:", "# auth: {jwt:", "openapi_mode: observe"):
        assert said in text


def test_a_document_that_is_right_is_copied_as_it_is(tree: Path, tmp_path: Path) -> None:
    document = written(tmp_path)
    run(document, name=None, out=tree)
    product = load_catalog(tree).products["api-4-pets"]
    assert product.spec.openapi == "openapi.json"
    assert (Path(product.folder) / "openapi.json").read_bytes() == document.read_bytes()


def test_a_servers_path_is_the_base_path(tree: Path, tmp_path: Path) -> None:
    run(written(tmp_path, servers=[{"url": "https://pets.example/shop"}]), name="pets", out=tree)
    spec = load_catalog(tree).products["pets"].spec
    assert (spec.base_path, spec.backend.url) == ("/shop", "https://pets.example/shop")


@pytest.mark.parametrize("server", ["/v1", "http://[", "https://{x}", "ftp://a.example", "http://10.0.0.1:99999", 7])
def test_a_server_that_says_nothing_is_to_fill_in(tree: Path, tmp_path: Path, server: object) -> None:
    run(written(tmp_path, servers=[{"url": server}]), name="pets", out=tree)
    spec = load_catalog(tree).products["pets"].spec
    assert (spec.base_path, spec.backend.url) == ("/pets", "https://backend.example")


def test_titles_cannot_reach_out_of_their_place(tree: Path, tmp_path: Path) -> None:
    title = 'a"\n  mode: sync\n#\u2028 {{ \\'
    run(written(tmp_path, info={"title": title, "description": title}), name="pets", out=tree)
    read = yaml.safe_load((tree / "products/pets/product.yaml").read_text())
    assert read["spec"]["mode"] == "async"
    assert read["spec"]["title"].startswith('a" mode: sync')


def test_nothing_is_written_over(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="there already"):
        run(written(tmp_path), name="orders", out=tree)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"openapi": "2.0"}, "not 3.0 or 3.1"),
        ({"paths": {}}, "no path"),
        ({"paths": {"/a/": {"get": {}}}}, "no path of the document can be a route"),
        ({"paths": {"/a": {"get": {"responses": {"200": {"$ref": "other.yaml"}}}}}}, "bundle the document"),
    ],
)
def test_a_document_that_cannot_be_served_is_refused(
    tree: Path, tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    before = sorted(tree.rglob("*"))
    with pytest.raises(InvalidCatalog, match=why):
        run(written(tmp_path, **changes), name="pets", out=tree)
    assert sorted(tree.rglob("*")) == before


@pytest.mark.parametrize("name", ["Pets", "../pets", "", "a" * 64])
def test_a_name_is_a_products(tree: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidCatalog, match="no name of a product"):
        run(written(tmp_path), name=name, out=tree)
