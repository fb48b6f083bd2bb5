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
    "google_storage_bucket": lambda body: iter(
        [(body["location"], body.get("encryption", {}).get("default_kms_key_name", ""))]
    ),
    "google_artifact_registry_repository": lambda body: iter([(body["location"], body.get("kms_key_name", ""))]),
}
"""Every kind of resource that keeps data."""
DELETING = {f"roles/storage.{name}" for name in ("admin", "objectAdmin", "objectUser", "legacyBucketWriter")}
"""Google's roles that may delete objects, and so replace them."""


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


def test_no_bucket_is_public(plan: Plan) -> None:
    public = [
        one.address
        for one in plan.resources("google_storage_bucket")
        if one.body.get("public_access_prevention") != "enforced" or not one.body.get("uniform_bucket_level_access")
    ]
    assert public == []


def test_nobody_who_serves_may_delete_releases(plan: Plan) -> None:
    granted = [one for one in plan.resources() if one.body.get("role") in DELETING]
    assert [one.address for one in granted if "account-deployer" not in one.body["member"]] == []
    custom = [name for one in plan.resources("google_project_iam_custom_role") for name in one.body["permissions"]]
    assert [name for name in custom if "delete" in name.lower()] == []


def test_only_the_promoter_may_add_releases(plan: Plan) -> None:
    creating = [
        one
        for one in plan.resources("google_storage_bucket_iam_member")
        if one.body["role"] == "roles/storage.objectCreator" and ".bucket-" in one.body["bucket"]
    ]
    everywhere = [
        one for one in creating if "/objects/bodies/" not in one.body.get("condition", {}).get("expression", "")
    ]
    assert everywhere
    assert [one.address for one in everywhere if "account-promoter" not in one.body["member"]] == []


def _kept(plan: Plan) -> list[tuple[Resource, str, str]]:
    return [(one, region, key) for one in plan.resources(*KEPT) for region, key in KEPT[one.type](one.body)]
