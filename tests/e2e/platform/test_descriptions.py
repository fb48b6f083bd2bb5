"""The OpenAPI documents are true: calls made from them, right and wrong ones, get an answer that they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from apx.local.platform import REPOSITORY, Platform
from tests.e2e.platform.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EXAMPLES = 25
TRIES = 4
_quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
few = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=_quiet)


def _called(schema: Any, examine: Callable[[Any], None]) -> None:
    """Call each operation as it allows and as it does not; `examine` sends the call and judges the answer."""
    for found in schema.get_all_operations():
        right, wrong = (found.ok().as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)

        @few
        @given(right | wrong)
        def storm_of(case: Any) -> None:
            examine(case)

        storm_of()


def _answered(case: Any, **how: Any) -> Any:
    """Call, and again while the store stands still with the machine's disk, as a client is told to."""
    for _ in range(TRIES):
        answer = case.call(**how)
        if answer.status_code != 503 or answer.json()["code"] != "unavailable":
            break
    return answer


def test_the_control_api_answers_what_its_description_allows(platform: Platform) -> None:
    def examine(case: Any) -> None:
        answer = _answered(case, headers={"Authorization": f"Bearer {platform.admin_token}"})
        case.validate_response(answer, checks=(not_a_server_error, response_schema_conformance))
        if answer.status_code >= 400:
            problem = answer.json()
            assert answer.headers["content-type"] == ["application/problem+json"]
            assert (problem["status"], bool(problem["code"])) == (answer.status_code, True)

    described = schemathesis.openapi.from_url(f"{platform.control}/api/openapi.json")
    _called(described.exclude(path="/api/v1/rollout-events"), examine)  # a stream without an end


def test_the_request_api_answers_what_its_description_allows(platform: Platform, acme: Client) -> None:
    location = acme.order().headers["location"]
    acme.finished(location)
    checks = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

    def examine(case: Any) -> None:
        for request_id in (case.path_parameters["id"], location.rpartition("/")[2]):
            case.path_parameters["id"] = request_id
            answer = _answered(case, base_url=platform.edge, headers={"X-API-Key": platform.keys["acme"]})
            case.validate_response(answer, checks=checks)

    _called(schemathesis.openapi.from_path(REPOSITORY / "docs" / "requests.openapi.yaml"), examine)
