from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest

from apx.catalog.load import InvalidTree, find_mistakes, load_catalog
from apx.catalog.model import Async, ProductSpec
from apx.errors import InvalidCatalog
from tests.unit.catalog.conftest import BASE, EXAMPLE


def test_the_example_tree_is_right() -> None:
    catalog, mistakes = find_mistakes(EXAMPLE)
    assert mistakes == []
    assert catalog is not None
    assert sorted(catalog.products) == ["exports", "forecast", "orders", "staff-payslips", "summaries"]
    assert sorted(catalog.plans) == ["enterprise", "free", "pro"]
    assert sorted(catalog.orgs) == ["acme", "globex", "initech"]


def test_defaults_are_filled_in() -> None:
    product = load_catalog(BASE).products["orders"]
    assert product.spec.mode == "async"
    assert product.spec.async_ == Async()


def test_a_product_knows_its_folder() -> None:
    assert load_catalog(EXAMPLE).products["orders"].folder == str(EXAMPLE / "products" / "orders")


def test_the_key_set_of_a_product_is_read_from_its_file() -> None:
    jwt = load_catalog(EXAMPLE).products["staff-payslips"].spec.auth.jwt
    assert jwt is not None
    assert json.loads(jwt.jwks or "") == json.loads((EXAMPLE / "products" / "staff-payslips" / "jwks.json").read_text())


def test_a_key_set_that_repeats_a_member_has_one_reading(example: Path) -> None:
    file = example / "products" / "staff-payslips" / "jwks.json"
    file.write_text(file.read_text().replace('"kid": "demo-1"', '"kid": "other", "kid": "demo-1"'))
    jwt = load_catalog(example).products["staff-payslips"].spec.auth.jwt
    assert jwt is not None
    assert "other" not in (jwt.jwks or "")


def test_a_spec_survives_json() -> None:
    for product in load_catalog(EXAMPLE).products.values():
        assert msgspec.json.decode(msgspec.json.encode(product.spec), type=ProductSpec) == product.spec


def test_a_tree_is_named_as_it_stands_whatever_way_leads_to_it(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small / "plans" / "free.yaml").write_text("")
    monkeypatch.chdir(small)
    assert {mistake.file for mistake in find_mistakes(Path())[1]} == {"gitops/plans/free.yaml"}
    assert find_mistakes(Path("../gitops"))[1] == find_mistakes(small)[1]


def test_an_invalid_tree_raises_all_its_mistakes(small: Path) -> None:
    (small / "plans" / "free.yaml").write_text("")
    (small / "orgs" / "acme.yaml").write_text("")
    with pytest.raises(
        InvalidCatalog, match=r"gitops/orgs/acme\.yaml:1:1: .*\n.*gitops/plans/free\.yaml:1:1: "
    ) as raised:
        load_catalog(small)
    assert isinstance(raised.value, InvalidTree)
    assert len(raised.value.mistakes) == 4


@pytest.mark.parametrize("missing", ["nowhere", "a\x00b", "a" * 300])
def test_a_tree_that_is_not_there_is_a_mistake(tmp_path: Path, missing: str) -> None:
    catalog, mistakes = find_mistakes(tmp_path / missing)
    assert catalog is None
    assert [mistake.code for mistake in mistakes] == ["tree-missing"]


def test_a_file_for_a_tree_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "gitops").write_text("")
    assert [mistake.code for mistake in find_mistakes(tmp_path / "gitops")[1]] == ["tree-missing"]


def test_a_working_folder_that_is_gone_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert [mistake.code for mistake in find_mistakes(Path("gitops"))[1]] == ["tree-missing"]


def test_an_empty_folder_lacks_the_three_folders(tmp_path: Path) -> None:
    assert [mistake.code for mistake in find_mistakes(tmp_path)[1]] == ["folder-missing"] * 3


def test_what_editors_and_clusters_read_is_left_alone(small: Path) -> None:
    for folder in ("schemas", "crds"):
        (small / folder).mkdir(exist_ok=True)
        (small / folder / "anything.yaml").write_text(": not even YAML")
    assert find_mistakes(small)[1] == []


def test_one_broken_file_does_not_make_others_wrong(small: Path) -> None:
    (small / "products" / "orders" / "product.yaml").write_bytes(b"\xff")
    assert {mistake.file for mistake in find_mistakes(small)[1]} == {"gitops/products/orders/product.yaml"}


def test_a_plan_that_is_wrong_itself_is_not_held_against_products(small: Path) -> None:
    plan = small / "plans" / "free.yaml"
    plan.write_text(plan.read_text() + "  max_timeout_s: -1\n")
    assert [mistake.code for mistake in find_mistakes(small)[1]] == ["out-of-range"]


def test_mistakes_come_sorted_by_place(example: Path) -> None:
    for file in example.glob("*/*.yaml"):
        file.write_text(file.read_text().replace("title:", "titel:"))
    mistakes = find_mistakes(example)[1]
    assert len(mistakes) == 12
    assert mistakes == sorted(mistakes)


def test_no_more_mistakes_are_listed_than_anybody_reads(small: Path) -> None:
    for number in range(1200):
        (small / "orgs" / f"o{number}.yaml").write_text("")
    mistakes = find_mistakes(small)[1]
    assert len(mistakes) == 1001
    assert mistakes[-1].code == "too-many-mistakes"


def test_two_hundred_products_load_within_a_second_of_work(small: Path) -> None:
    _multiply(small, 200)
    started = time.process_time()
    catalog, mistakes = find_mistakes(small)
    spent_s = time.process_time() - started
    assert mistakes == []
    assert catalog is not None
    assert len(catalog.products) == 201
    assert spent_s < 1


def test_a_mistake_is_plain_data(small: Path) -> None:
    (small / "plans" / "free.yaml").write_text("")
    mistake = find_mistakes(small)[1][0]
    assert json.loads(msgspec.json.encode(mistake)) == {
        "file": "gitops/plans/free.yaml",
        "line": 1,
        "column": 1,
        "code": "file-empty",
        "message": "the file says nothing: describe the resource or remove the file",
    }


def _multiply(tree: Path, count: int) -> None:
    text = (tree / "products" / "orders" / "product.yaml").read_text()
    for number in range(count):
        folder = tree / "products" / f"p{number}"
        folder.mkdir()
        named = text.replace("name: orders", f"name: p{number}").replace("base_path: /orders", f"base_path: /p{number}")
        (folder / "product.yaml").write_text(named)
