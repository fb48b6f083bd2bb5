"""A product with an OpenAPI document: what departs from it is refused at the edge, what keeps it is done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apx.local.platform import Platform, isolated
from tests.e2e.platform.client import ORDER, Client
from tests.e2e.platform.trees import copied, edit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DOCUMENT = """\
openapi: 3.1.0
info: {title: Orders, version: "1"}
paths:
  /orders:
    get: {}
    post:
      requestBody:
        required: true
        content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}
  /orders/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: string, maxLength: 20}}]
    get: {}
    put: {}
    delete: {}
  /orders/{id}/lines:
    get: {parameters: [{name: limit, in: query, schema: {type: integer, maximum: 100}}]}
    post: {}
components:
  schemas:
    Order:
      type: object
      required: [item, quantity]
      properties:
        item: {type: string}
        quantity: {type: integer, minimum: 1}
"""


@pytest.fixture(scope="module")
def described() -> Iterator[Platform]:
    folder = Path(tempfile.mkdtemp(prefix="apx-")).resolve()
    product = copied(folder) / "products" / "orders"
    (product / "openapi.yaml").write_text(DOCUMENT)
    edit(product / "product.yaml", "  policy:\n", "  openapi: openapi.yaml\n  policy:\n")
    with Platform.start(isolated(folder / "home", gitops=folder / "gitops")) as platform:
        yield platform
    shutil.rmtree(folder)


def test_a_request_that_keeps_the_document_is_done(described: Platform) -> None:
    with Client(described, "acme") as acme:
        answer = acme.order()
        assert answer.status_code == 202, answer.text
        assert acme.finished(answer.headers["location"])["response"]


def test_a_request_that_departs_from_the_document_is_told_where(described: Platform) -> None:
    with Client(described, "acme") as acme:
        answer = acme.order({**ORDER, "quantity": -771177})
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")
    assert answer.json()["errors"] == [{"in": "body", "pointer": "/quantity", "detail": "is under 1"}]
    assert "771177" not in answer.text


def test_a_parameter_that_departs_from_the_document_is_told(described: Platform) -> None:
    with Client(described, "acme") as acme:
        answer = acme.get("/orders/7/lines", params={"limit": "many"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/limit")
