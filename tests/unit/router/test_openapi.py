"""What a client reads that departs from the product's OpenAPI document, and whose document it is during a rollout."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from apx.admission.admit import LiveProduct
from apx.release.model import Release
from apx.telemetry import metrics
from tests.unit.catalog.openapi_documents import document
from tests.unit.release.examples import release, spec
from tests.unit.router.desk import Desk, Says
from tests.unit.router.test_arms import ROUTES, Two

SCHEMA = {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}


def with_document(made: Release) -> Release:
    whole = document(SCHEMA)
    whole["paths"] = {"/orders": {"post": whole["paths"]["/"]["post"], "get": {}}, "/orders/{id}": {}}
    for method in ("get", "post", "put", "patch", "delete"):
        whole["paths"]["/orders/{id}"][method] = {}
    return msgspec.structs.replace(made, openapi=json.dumps(whole).encode())


def two(desk: Desk, **changes: Any) -> Two:
    """Return a rollout whose candidate alone has a document."""
    both = Two(desk)
    made = with_document(release("orders", spec(routes=ROUTES, openapi="openapi.yaml", **changes)))
    both.candidate = LiveProduct(made, Says(desk.clock))
    both.rollout = msgspec.structs.replace(both.rollout, candidate=made.digest)
    return both


async def test_the_candidates_document_is_the_candidates(desk: Desk) -> None:
    both = two(desk)
    both.serve(0)
    assert (await desk.ask("POST", "/orders", desk.headers, body=b"{}")).status == 202
    both.serve(100)
    assert (await desk.ask("POST", "/orders", desk.headers, body=b"{}")).code == "request-invalid"
    assert (await desk.ask("POST", "/orders", desk.headers, body=b'{"sku":"a"}')).status == 202
    assert both.counts(both.candidate).newly_denied == 1


async def test_the_problem_names_places_and_no_values(desk: Desk) -> None:
    two(desk).serve(100)
    answer = await desk.ask("POST", "/orders", desk.headers, body=b'{"sku":771177,"other":"SECRET"}')
    assert answer.status == 422
    assert answer.json["errors"] == [{"in": "body", "pointer": "/sku", "detail": "is not of type string"}]
    assert b"771177" not in answer.body
    assert b"SECRET" not in answer.body


async def test_a_stranger_learns_nothing_of_the_document(desk: Desk) -> None:
    two(desk).serve(100)
    assert (await desk.ask("POST", "/orders", {}, body=b"{}")).status == 401


@pytest.mark.parametrize(("mode", "status", "result"), [("enforce", 422, "refused"), ("observe", 202, "observed")])
async def test_what_departs_is_counted(desk: Desk, mode: str, status: int, result: str) -> None:
    two(desk, openapi_mode=mode).serve(100)
    metrics.know_products(["orders"])
    before = metrics.VALIDATIONS.value("orders", result)
    assert (await desk.ask("POST", "/orders", desk.headers, body=b"{}")).status == status
    assert metrics.VALIDATIONS.value("orders", result) == before + 1
