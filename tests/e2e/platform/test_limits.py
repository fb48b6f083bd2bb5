"""Terms and budgets of an org in every real process: given by the control API, held by the router, told in the log."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from apx.local.platform import Platform
from tests.e2e.platform.client import Client, eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("platform", ["local", "gcp"], indirect=True),
]
TINY = {"quotas": [{"name": "tiny", "per": "month", "requests": 3}]}
CENT = {"budgets": [{"name": "cent", "usd": 0.01, "per": "month", "products": ["summaries"]}]}


def give(control: httpx.Client, org: str, terms: dict[str, Any]) -> None:
    assert control.put("/orgs", json={"terms": {org: terms}}).status_code == 200


def test_what_the_tree_says_of_an_org_was_given_when_it_was_seeded(globex: Client, control: httpx.Client) -> None:
    assert control.get("/orgs/globex").json()["terms"]["timezone"] == "Europe/Berlin"
    assert globex.order().headers["ratelimit-policy"] in ('"plan";q=200;w=2', '"org.rate";q=400;w=2')


def test_new_terms_hold_within_a_second(platform: Platform, control: httpx.Client) -> None:
    with Client(platform, "initech") as initech:
        give(control, "initech", TINY)
        try:
            assert eventually(lambda: "org.tiny" in initech.order().headers["ratelimit"], within_s=1.0)
            assert eventually(lambda: initech.order().status_code == 429, within_s=1.0)
            refused = initech.order()
            assert refused.json()["code"] == "quota-exceeded"
            assert refused.headers["ratelimit"].startswith('"org.tiny";r=0')
        finally:
            give(control, "initech", {})
        assert eventually(lambda: initech.order().status_code == 202, within_s=5.0)


def test_a_budget_stops_and_its_marks_are_told(globex: Client, control: httpx.Client) -> None:
    before = control.get("/orgs/globex").json()["terms"]
    give(control, "globex", CENT)

    def summary() -> httpx.Response:
        return globex.post("/summaries/", json={"text": "A text that is not long.", "max_words": 5})

    def told() -> set[str]:
        entries = control.get("/audit?org=globex&action=budget-mark").json()
        return {entry["after"].split(" ")[0] for entry in entries if entry["subject"].startswith("budget cent")}

    try:
        assert eventually(lambda: summary().json().get("code") == "budget-exceeded", within_s=10)
        assert globex.order().status_code == 202
        [stands] = control.get("/orgs/globex/budgets").json()
        assert 0.0075 < stands["spent_usd"] <= 0.01
        assert eventually(lambda: told() == {"50", "80", "100"}, within_s=30)
    finally:
        give(control, "globex", before)
