"""A suspended org in every real process, and the log of it."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.e2e.platform.client import Client, eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True),
]


def refused_within(client: Client, seconds: float) -> bool:
    def refused() -> bool:
        answer = client.order()
        return answer.status_code == 403 and answer.json()["code"] == "org-suspended"

    return eventually(refused, within_s=seconds)


def test_a_suspended_org_is_refused_within_a_second_and_what_it_had_accepted_goes_on(
    acme: Client, globex: Client, control: httpx.Client
) -> None:
    accepted = acme.order(x_demo_delay_ms="2000")
    assert accepted.status_code == 202
    assert control.post("/orgs/acme/suspend", json={"why": "unpaid"}).status_code == 200
    began = time.monotonic()
    try:
        assert refused_within(acme, 1.0), f"still let in after {time.monotonic() - began:.1f} s"
        assert globex.order().status_code == 202
        assert acme.get(accepted.headers["location"]).status_code == 403
    finally:
        assert control.post("/orgs/acme/resume", json={"why": "paid"}).status_code == 200
    assert eventually(lambda: acme.order().status_code == 202, within_s=1.0)
    assert acme.finished(accepted.headers["location"])["state"] == "succeeded"


def test_all_that_was_changed_is_in_a_sound_log(control: httpx.Client) -> None:
    def actions() -> set[str]:
        return {str(entry["action"]) for entry in control.get("/audit?limit=500").json()}

    assert eventually(lambda: {"key-create", "org-suspend", "org-resume", "rollout-activate"} <= actions())
    suspended = control.get("/audit?action=org-suspend").json()[0]
    assert (suspended["actor"], suspended["source"], suspended["why"]) == ("admin", "127.0.0.1", "unpaid")
    assert eventually(lambda: control.get("/audit/verify").json()["sealed"] > 0)
    report = control.get("/audit/verify").json()
    assert report["sound"], report["findings"]
