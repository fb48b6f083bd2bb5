"""What must hold of whatever keeps data: whose key it is under, where it lies, who may read, change and delete it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

import pytest

from apx.backends.gcp import names
from apx.catalog.load import load_catalog
from tests.stacks.plans import ROOT, Body, Plan, Resource

Kept = tuple[str, str]
"""Where a datum lies, and the key that it is under."""


def _one(location: str, *key: str) -> Callable[[Body], Iterator[Kept]]:
    """Return what reads the place and the key of a resource that names one of each."""

    def kept(body: Body) -> Iterator[Kept]:
        found: Any = reduce(lambda part, name: part.get(name, {}), key, body)
        yield body[location], found or ""

    return kept


def _secret(body: Body) -> Iterator[Kept]:
    for replica in body["replication"]["user_managed"]["replicas"]:
        yield from _one("location", "customer_managed_encryption", "kms_key_name")(replica)


def _topic(body: Body) -> Iterator[Kept]:
    for region in _policy(body)["allowed_persistence_regions"]:
        yield region, body.get("kms_key_name", "")


def _policy(body: Body) -> Body:
    policy: Body = body["message_storage_policy"]
    return policy


KEPT: dict[str, Callable[[Body], Iterator[Kept]]] = {
    "google_artifact_registry_repository": _one("location", "kms_key_name"),
    "google_bigquery_dataset": _one("location", "default_encryption_configuration", "kms_key_name"),
    "google_firestore_database": _one("location_id", "cmek_config", "kms_key_name"),
    "google_memorystore_instance": _one("location", "kms_key"),
    "google_pubsub_topic": _topic,
    "google_secret_manager_secret": _secret,
    "google_storage_bucket": _one("location", "encryption", "default_kms_key_name"),
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
    regions = _regions(plan)
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


def test_every_topic_keeps_its_messages_in_one_region(plan: Plan) -> None:
    policies = {one.body["name"]: _policy(one.body) for one in plan.resources("google_pubsub_topic")}
    assert [name for name, policy in policies.items() if len(policy["allowed_persistence_regions"]) != 1] == []
    assert [name for name, policy in policies.items() if policy["allowed_persistence_regions"][0] not in name] == []
    assert [
        name for name, policy in policies.items() if "-requests-" in name and not policy["enforce_in_transit"]
    ] == []


def test_every_asynchronous_product_has_its_topic_and_subscription_in_every_region(plan: Plan) -> None:
    products = load_catalog(ROOT / "gitops").products.items()
    asynchronous = [name for name, product in products if product.spec.mode == "async"]
    journaled = [*asynchronous, "apx-webhooks"]
    wanted = {names.requests_topic(region, product) for region in _regions(plan) for product in journaled}
    assert asynchronous
    for type_ in ("google_pubsub_topic", "google_pubsub_subscription"):
        found = {one.body["name"] for one in plan.resources(type_)}
        assert {name for name in found if "-requests-" in name} == wanted


def test_deliveries_are_queued_by_control_alone_which_alone_reads_what_ended(plan: Plan) -> None:
    deliveries = _granted(plan, "google_pubsub_topic_iam_member", "-requests-apx-webhooks-")
    ended = _granted(plan, "google_pubsub_subscription_iam_member", "-usage-webhooks-")
    assert deliveries == {"roles/pubsub.publisher": {"control", "monitor"}}
    assert ended == {"roles/pubsub.subscriber": {"control"}, "roles/pubsub.viewer": {"control"}}


def _granted(plan: Plan, type_: str, part: str) -> dict[str, set[str]]:
    """Return who has which role on the resources whose grants' names hold a part."""
    granted: dict[str, set[str]] = {}
    for one in plan.resources(type_):
        if part in one.address:
            accounts = re.findall(r"account-([a-z]+?)member", one.body["member"])
            granted.setdefault(one.body["role"], set()).update(accounts)
    return granted


def test_no_subscription_is_forgotten_and_no_usage_is_lost_that_cannot_be_written(plan: Plan) -> None:
    subscriptions = plan.resources("google_pubsub_subscription")
    assert [one.address for one in subscriptions if one.body["expiration_policy"]["ttl"] != ""] == []
    usage = [one.body for one in subscriptions if one.body["name"].endswith("-usage")]
    assert usage
    assert [body["name"] for body in usage if "dead_letter_policy" not in body] == []


@pytest.mark.parametrize(
    ("stack", "kind", "name"),
    [("data", "google_firestore_database", "database"), ("artifacts", "google_storage_bucket", "bucket")],
)
def test_residency_each_region_has_its_own(plan: Plan, stack: str, kind: str, name: str) -> None:
    found = {one.name for one in plan.resources(kind) if one.stack == stack and one.name.startswith(f"{name}-")}
    assert found == {f"{name}-{region}" for region in _regions(plan)}


def _regions(plan: Plan) -> set[str]:
    return {one.body["location"] for one in plan.resources("google_kms_key_ring")}


def _kept(plan: Plan) -> list[tuple[Resource, str, str]]:
    return [(one, region, key) for one in plan.resources(*KEPT) for region, key in KEPT[one.type](one.body)]
