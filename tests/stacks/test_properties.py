"""What must hold of every environment, in one region and in three, whatever is added to the stacks."""

from __future__ import annotations

from tests.stacks.plans import MORE_REGIONS, Plan

PRIMITIVE = {"roles/owner", "roles/editor"}
EVERYBODY = {"allUsers", "allAuthenticatedUsers"}
ONCE = ("pods-",)
"""What the home region's stack has for the whole project: who pods are."""
KEPT = {"google_kms_crypto_key", "google_firestore_database", "google_storage_bucket", "google_bigquery_dataset"}
"""Losing one of these loses data."""


def test_nobody_has_a_primitive_role(plan: Plan) -> None:
    assert [one.address for one in plan.resources() if one.body.get("role") in PRIMITIVE] == []


def test_nothing_is_granted_to_everybody(plan: Plan) -> None:
    granted = [
        one.address
        for one in plan.resources()
        if one.body.get("member") in EVERYBODY or EVERYBODY & set(one.body.get("members", ()))
    ]
    assert granted == []


def test_no_service_account_has_a_key(plan: Plan) -> None:
    assert plan.resources("google_service_account_key") == []


def test_the_firewall_lets_the_internet_reach_nothing(plan: Plan) -> None:
    opened = [
        one.address
        for one in plan.resources("google_compute_firewall")
        if "allow" in one.body and "0.0.0.0/0" in one.body.get("source_ranges", ["0.0.0.0/0"])
    ]
    assert opened == []


def test_all_regions_have_the_same_kinds_of_things(planned_regions: dict[str, Plan]) -> None:
    one, three = planned_regions["one"], planned_regions["three"]
    home = "us-central1"
    for region in (str(more["name"]) for more in MORE_REGIONS):
        everywhere = [r for r in one.resources() if not r.name.startswith(ONCE)]
        here = {(r.stack.replace(home, "R"), r.type, r.name.replace(home, "R")) for r in everywhere}
        there = {(r.stack.replace(region, "R"), r.type, r.name.replace(region, "R")) for r in three.resources()}
        assert sorted(here - there) == []


def test_what_keeps_data_is_not_destroyed_by_mistake(prod: Plan) -> None:
    kept = [one for one in prod.resources() if one.type in KEPT]
    unprotected = [
        one.address
        for one in kept
        if not one.body.get("lifecycle", {}).get("prevent_destroy")
        and one.body.get("delete_protection_state") != "DELETE_PROTECTION_ENABLED"
    ]
    assert kept
    assert unprotected == []
