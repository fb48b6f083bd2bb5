from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from stacks.deploy.approval import Approval
from stacks.deploy.smoke import DEADLINE_S, PAUSE_S, Smoke
from stacks.deploy.web import Answer
from tests.unit.deploy.conftest import Bench
from tests.unit.deploy.recorded import DIGEST, fails

EDGE, CONTROL = "https://dev.apx.example/healthz", "https://control.dev.apx.example/"
OUTPUTS = {
    "address-record": {"dev.apx.example": "203.0.113.7"},
    "certificate-records": {"_acme-challenge.dev.apx.example.": "x.authorize.certificatemanager.goog."},
}
SIGN_IN = {CONTROL: [Answer(302)]}
RELEASES = "gcloud storage objects list gs://apx-dev-000000-apx-us-central1/releases/"


def tried(bench: Bench, answers: Mapping[str, Sequence[Answer]]) -> dict[str, str]:
    bench.site.answers.update({url: list(given) for url, given in {**SIGN_IN, **answers}.items()})
    smoke = Smoke(bench.cloud, bench.clock, bench.clock.advance, OUTPUTS)
    return {one.what: str(one) for one in smoke.run()}


def test_what_answers_as_it_should_is_well(bench: Bench) -> None:
    assert tried(bench, {EDGE: [Answer(200)]}) == {
        "release store": "ok   release store: releases: 1 in us-central1",
        "edge": f"ok   edge: {EDGE} answers 200, as it should",
        "control": f"ok   control: {CONTROL} asks strangers to sign in",
    }


def test_an_edge_that_comes_up_late_is_waited_for(bench: Bench) -> None:
    late = [Answer(502), Answer(trouble="certificate", detail="x"), Answer(trouble="connection"), Answer(200)]
    assert tried(bench, {EDGE: late})["edge"].startswith("ok")
    assert bench.clock.monotonic() == 3 * PAUSE_S


def test_an_edge_that_never_comes_up_is_given_up_at_the_deadline(bench: Bench) -> None:
    assert tried(bench, {EDGE: [Answer(502)]})["edge"] == f"FAIL edge: {EDGE} answers 502"
    assert DEADLINE_S - PAUSE_S <= bench.clock.monotonic() <= DEADLINE_S


def test_without_a_certificate_its_record_is_told(bench: Bench) -> None:
    said = tried(bench, {EDGE: [Answer(trouble="certificate", detail="SSLV3_ALERT")]})["edge"]
    assert "Google makes it once these records are there: `_acme-challenge.dev.apx.example. CNAME x.authorize" in said


@pytest.mark.parametrize("address", ["", "198.51.100.9"])
def test_a_name_that_leads_elsewhere_is_told_with_its_record(bench: Bench, address: str) -> None:
    bench.site.address = address
    found = tried(bench, {EDGE: [Answer(trouble="name")]})
    where = address or "nowhere"
    assert found["dev.apx.example"] == (
        f"FAIL dev.apx.example: is {where}: make the record `dev.apx.example. A 203.0.113.7`"
    )
    assert bench.clock.monotonic() == 0  # no waiting for what somebody has to do first


def test_before_the_first_release_the_edge_is_not_asked(bench: Bench) -> None:
    bench.commands.replies[RELEASES] = fails("ERROR: matched no objects")
    assert "nothing is released yet" in tried(bench, {})["edge"]
    assert EDGE not in bench.site.asked


def test_a_store_that_cannot_be_read_fails(bench: Bench) -> None:
    bench.commands.replies["gcloud storage buckets describe gs://apx-dev-000000-apx-us-central1"] = fails("ERROR: 403")
    assert tried(bench, {})["release store"].startswith(
        "FAIL release store: gs://apx-dev-000000-apx-us-central1 cannot"
    )


@pytest.mark.parametrize("status", [302, 401])
def test_a_control_api_that_asks_who_you_are_is_well(bench: Bench, status: int) -> None:
    assert tried(bench, {EDGE: [Answer(200)], CONTROL: [Answer(status)]})["control"].startswith("ok")


def test_a_control_api_that_answers_strangers_is_an_alarm(bench: Bench) -> None:
    found = tried(bench, {EDGE: [Answer(200)], CONTROL: [Answer(200)]})
    assert found["control"] == f"FAIL control: {CONTROL} answers strangers: IAP is off. Take its record away now."


def test_a_deployment_that_does_not_answer_has_not_gone_well(bench: Bench) -> None:
    bench.site.answers.update({EDGE: [Answer(502)], CONTROL: [Answer(302)]})
    done = bench.session.deploy(Approval(environment="dev"), image=DIGEST, build=False, base=False, first=False)
    assert not done
    assert f"FAIL edge: {EDGE} answers 502" in bench.person.read
