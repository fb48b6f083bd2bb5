"""What must hold of whatever keeps data: whose key it is under, where it lies, who may read, change and delete it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.stacks.plans import Body, Plan, Resource

Kept = tuple[str, str]
"""Where a datum lies, and the key that it is under."""


def _secret(body: Body) -> Iterator[Kept]:
    for replica in body["replication"]["user_managed"]["replicas"]:
        yield replica["location"], replica.get("customer_managed_encryption", {}).get("kms_key_name", "")


KEPT: dict[str, Callable[[Body], Iterator[Kept]]] = {
    "google_firestore_database": lambda body: iter(
        [(body["location_id"], body.get("cmek_config", {}).get("kms_key_name", ""))]
    ),
    "google_memorystore_instance": lambda body: iter([(body["location"], body.get("kms_key", ""))]),
    "google_secret_manager_secret": _secret,
    "google_bigquery_dataset": lambda body: iter(
        [(body["location"], body.get("default_encryption_configuration", {}).get("kms_key_name", ""))]
    ),
}
"""Every kind of resource that keeps data."""


def test_every_datum_is_encrypted_with_the_key_of_the_region_where_it_lies(plan: Plan) -> None:
    wrong = [
        f"{one.address}: in {region} under {key or 'a key of Google'}"
        for one, region, key in _kept(plan)
        if not key.endswith(f"google_kms_crypto_keydata-{region}id}}")
    ]
    assert wrong == []
    assert {one.type for one, _, _ in _kept(plan)} == set(KEPT)


def test_every_datum_lies_in_a_region_of_the_environment_and_in_no_wider_place(plan: Plan) -> None:
    regions = {one.body["location"] for one in plan.resources("google_kms_key_ring")}
    assert [f"{one.address}: {region}" for one, region, _ in _kept(plan) if region not in regions] == []


def test_no_secret_has_a_value_in_the_state(plan: Plan) -> None:
    assert plan.resources("google_secret_manager_secret_version") == []


def test_nobody_may_use_a_database_that_is_not_named(plan: Plan) -> None:
    roles = ("roles/datastore.user", "roles/datastore.viewer")
    granted = [one for one in plan.resources("google_project_iam_member") if one.body["role"] in roles]
    unlimited = [one.address for one in granted if "/databases/apx-" not in one.body["condition"]["expression"]]
    assert granted
    assert unlimited == []


def _kept(plan: Plan) -> list[tuple[Resource, str, str]]:
    return [(one, region, key) for one in plan.resources(*KEPT) for region, key in KEPT[one.type](one.body)]
