from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stacks.deploy.plan import Plan, read_plan

DATABASE = "google_firestore_database.database-us-central1"
SECRET = "canary-of-a-value"


def plan(*changes: dict[str, Any], **more: Any) -> Plan:
    return read_plan("dev-data", msgspec.json.encode({"resource_changes": changes, **more}))


def change(address: str, *actions: str, **parts: Any) -> dict[str, Any]:
    return {"address": address, "type": address.split(".", maxsplit=1)[0], "change": {"actions": actions, **parts}}


def test_a_plan_is_told_in_a_line_and_a_line_for_each_resource() -> None:
    said = str(
        plan(
            change("google_pubsub_topic.t", "create", before=None, after={"name": "t"}),
            change("google_x.c", "update", before={"labels": 1, "n": 2}, after={"labels": 3, "n": 2}),
            change(DATABASE, "delete", "create", before={}, after={}, replace_paths=[["location_id"]]),
            change("google_x.gone", "delete", before={}, after=None),
            change("google_x.same", "no-op", before={}, after={}),
            change("data.google_x.read", "read", before={}, after={}),
        )
    )
    assert said.splitlines()[:-1] == [
        "dev-data: 1 to add, 1 to change, 1 to replace, 1 to destroy",
        "  + google_pubsub_topic.t",
        "  ~ google_x.c  (labels)",
        f"-/+ {DATABASE}  (forced by location_id)  LOSES keys, rollouts, results and the audit of the region",
        "  - google_x.gone",
    ]
    assert said.splitlines()[-1].startswith("    plan sha256:")


def test_values_are_never_told() -> None:
    secret = change("google_x.s", "update", before={"password": "was"}, after={"password": SECRET})
    created = change("google_x.n", "create", before=None, after={"password": SECRET})
    assert SECRET not in str(plan(secret, created))


@pytest.mark.parametrize("actions", [("delete",), ("delete", "create"), ("create", "delete"), ("forget",)])
def test_what_keeps_data_is_a_loss_however_it_goes(actions: tuple[str, ...]) -> None:
    assert list(plan(change(DATABASE, *actions)).losses) == [f"dev-data.{DATABASE}"]


@pytest.mark.parametrize("address", ["google_project_iam_member.x", "kubernetes_deployment_v1.y"])
def test_what_keeps_nothing_is_no_loss(address: str) -> None:
    assert plan(change(address, "delete")).losses == {}


def test_a_digest_stands_for_the_values_and_not_for_the_time() -> None:
    def digest(value: str, **more: Any) -> str:
        return plan(change("google_x.a", "create", before=None, after={"v": value}), **more).digest

    assert digest("1", timestamp="now") == digest("1", timestamp="later")
    assert digest("1") != digest("2")


def test_a_digest_stands_for_its_stack() -> None:
    assert read_plan("a", b"{}").digest != read_plan("b", b"{}").digest


def test_what_changes_by_itself_neither_drifts_nor_moves_the_digest() -> None:
    def spec(version: str) -> dict[str, Any]:
        before = {"metadata": [{"resource_version": version}], "image": "old", "generation": int(version)}
        return change("kubernetes_deployment_v1.w", "update", before=before, after={**before, "image": "new"})

    assert plan(spec("1")).digest == plan(spec("2")).digest
    still = change("x.y", "update", before={"etag": "1", "m": {"uid": 1}}, after={"etag": "2", "m": {"uid": 2}})
    moved = change("x.z", "update", before={"labels": {}}, after={"labels": {"by": "hand"}})
    assert [one.address for one in plan(resource_drift=[still, moved]).drift] == ["x.z"]


@pytest.mark.parametrize("how", [{"previous_address": "google_x.was"}, {}])
def test_what_only_gets_another_name_is_to_be_applied_too(how: dict[str, str]) -> None:
    given = {**change("google_x.is", "no-op", before={}, after={}), **how}
    assert plan(given).empty == (not how)
    assert ("  > google_x.is" in str(plan(given))) == bool(how)


def test_outputs_alone_are_changes_too() -> None:
    found = plan(output_changes={"address": {"actions": ["update"]}, "same": {"actions": ["no-op"]}})
    assert not found.empty
    assert found.summary == "dev-data: outputs change: address"


def test_a_stack_is_new_until_its_state_manages_something() -> None:
    looked_up = {"values": {"root_module": {"resources": [{"mode": "data"}]}}}
    made = {"values": {"root_module": {"resources": [{"mode": "data"}, {"mode": "managed"}]}}}
    assert plan().new
    assert plan(prior_state=looked_up).new
    assert not plan(prior_state=made).new
