"""What is told when something is wrong, word by word."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stacks.deploy.commands import NOT_THERE, Done
from stacks.deploy.order import Stack
from stacks.deploy.preflight import preflight
from stacks.deploy.project import PERMISSIONS, needs
from stacks.deploy.web import Answer
from tests.unit.deploy.conftest import Bench
from tests.unit.deploy.recorded import NUMBER, PROJECT, TOKEN, Reply, fails, says

BUCKET = f"{PROJECT}-tfstate"
OPTIONS = f"--project={PROJECT} --quiet"
GOOD: dict[str, Any] = {
    "location": "US-CENTRAL1",
    "projectNumber": NUMBER,
    "versioning": {"enabled": True},
    "iamConfiguration": {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": {"enabled": True}},
}
DESCRIBED = "gcloud storage buckets describe"
LOCK = {
    "ID": "c0f204fa-5887",
    "Who": "eve@laptop",
    "Operation": "OperationTypeApply",
    "Created": "2026-11-25T10:00:00Z",
}

WRONG: dict[str, tuple[dict[str, Reply], str]] = {
    "no terraform": (
        {"terraform version": Done(NOT_THERE)},
        "terraform is not here, or does not work: install it: https://developer.hashicorp.com/terraform/install.",
    ),
    "an old terraform": (
        {"terraform version": Done(0, b"Terraform v1.8.5")},
        (
            "terraform 1.8.5 is too old; it has to be 1.9 or later: install it: "
            "https://developer.hashicorp.com/terraform/install."
        ),
    ),
    "no gcloud": (
        {"gcloud version": Done(NOT_THERE)},
        "gcloud is not here, or does not work: install it: https://cloud.google.com/sdk/docs/install.",
    ),
    "no kubectl": (
        {"kubectl": Done(NOT_THERE)},
        "kubectl is not here, or does not work: `gcloud components install kubectl`, or the package kubectl.",
    ),
    "no plugin": (
        {"gke-gcloud-auth-plugin": Done(NOT_THERE)},
        (
            "gke-gcloud-auth-plugin is not here, or does not work: `gcloud components install gke-gcloud-auth-plugin`, "
            "or the package google-cloud-cli-gke-gcloud-auth-plugin."
        ),
    ),
    "nobody is signed in": (
        {"gcloud auth list": says([])},
        "gcloud is not signed in: `gcloud auth login` (in a workflow: google-github-actions/auth).",
    ),
    "no credentials for Terraform": (
        {"gcloud auth application-default print-access-token": fails("ERROR: no credentials")},
        (
            "Terraform has no application default credentials: `gcloud auth application-default login` (in a workflow: "
            "google-github-actions/auth)."
        ),
    ),
    "no project": (
        {"gcloud projects describe": fails("ERROR: (gcloud.projects.describe) not found")},
        (
            f"ops@apx.example cannot see the project {PROJECT} (ERROR: (gcloud.projects.describe) not found): `gcloud "
            f"projects create {PROJECT}`, or name yours as `project` in stacks/environments/dev.yaml."
        ),
    ),
    "a deleted project": (
        {"gcloud projects describe": says({"projectNumber": NUMBER, "lifecycleState": "DELETE_REQUESTED"})},
        f"The project {PROJECT} is DELETE_REQUESTED: `gcloud projects undelete {PROJECT}`.",
    ),
    "another project": (
        {"gcloud config get-value project": Done(0, b"apx-prod-000000")},
        (
            f"gcloud is set to the project apx-prod-000000, and dev is {PROJECT}: `gcloud config set project "
            f"{PROJECT}`, when that is where you mean to be."
        ),
    ),
    "nobody pays": (
        {"gcloud billing projects describe": says({"billingEnabled": False})},
        f"Nobody pays for {PROJECT}: `gcloud billing projects link {PROJECT} --billing-account=ACCOUNT`.",
    ),
    "APIs are off": (
        {"gcloud services list": says([{"config": {"name": f"{n}.googleapis.com"}} for n in ("compute", "iam")])},
        (
            "APIs are off that the first plan needs: `gcloud services enable cloudbilling.googleapis.com "
            "cloudresourcemanager.googleapis.com serviceusage.googleapis.com storage.googleapis.com "
            f"{OPTIONS}`, or --bootstrap."
        ),
    ),
    "too few processors": (
        {"gcloud compute regions describe": says({"quotas": [{"metric": "CPUS", "limit": 1.0}]})},
        (
            "us-central1: the quota CPUS is 1, and dev-workloads-us-central1 needs 2 to start: "
            f"https://console.cloud.google.com/iam-admin/quotas?project={PROJECT}"
        ),
    ),
    "no bucket": (
        {DESCRIBED: fails("ERROR: 404")},
        (
            f"The bucket of Terraform's state, {BUCKET}, is not there: `gcloud storage buckets create gs://{BUCKET} "
            f"--location=us-central1 --uniform-bucket-level-access --public-access-prevention {OPTIONS} && gcloud "
            f"storage buckets update gs://{BUCKET} --versioning {OPTIONS}`, or --bootstrap."
        ),
    ),
    "a bucket without versions": (
        {DESCRIBED: says({**GOOD, "versioning": {}})},
        (
            f"The bucket {BUCKET} keeps no versions: `gcloud storage buckets update gs://{BUCKET} --versioning "
            f"{OPTIONS}`, or --bootstrap."
        ),
    ),
    "a bucket that could be opened": (
        {DESCRIBED: says({**GOOD, "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}})},
        (
            f"The bucket {BUCKET} could be opened to everybody: `gcloud storage buckets update gs://{BUCKET} "
            f"--public-access-prevention {OPTIONS}`, or --bootstrap."
        ),
    ),
    "a bucket with rights of objects": (
        {DESCRIBED: says({**GOOD, "iamConfiguration": {"publicAccessPrevention": "enforced"}})},
        (
            f"The bucket {BUCKET} has rights of single objects: `gcloud storage buckets update gs://{BUCKET} "
            f"--uniform-bucket-level-access {OPTIONS}`, or --bootstrap."
        ),
    ),
    "a bucket elsewhere": (
        {DESCRIBED: says({**GOOD, "location": "EU"})},
        (
            f"The bucket {BUCKET} is in eu, and dev's home is us-central1: a bucket cannot move. Empty it, remove it, "
            "and make it again."
        ),
    ),
    "a stranger's bucket": (
        {DESCRIBED: says({**GOOD, "projectNumber": "666"})},
        (
            f"The bucket {BUCKET} belongs to another project (666): nothing may be written there. Bucket names are the "
            "world's: rename the project."
        ),
    ),
    "the first time": (
        {f"gcloud storage objects list gs://{BUCKET}/apx/dev/**/default.tfstate": fails("ERROR: matched no objects")},
        (
            "Google's own accounts, which encrypt with our keys, may not exist yet: the first time, run it with "
            "--bootstrap."
        ),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_with_the_way_out(bench: Bench, stacks: list[Stack], case: str) -> None:
    replies, message = WRONG[case]
    bench.commands.replies.update(replies)
    assert message in preflight(bench.cloud, stacks).wrong


def test_a_project_in_order_has_nothing_wrong(bench: Bench, stacks: list[Stack]) -> None:
    found = preflight(bench.cloud, stacks)
    assert (found.wrong, found.notes) == ([], [f"ops@apx.example deploys dev to {PROJECT}"])


def test_everything_is_told_at_once(bench: Bench, stacks: list[Stack]) -> None:
    for case in ("no kubectl", "nobody pays", "a bucket without versions", "too few processors"):
        bench.commands.replies.update(WRONG[case][0])
    assert len(preflight(bench.cloud, stacks).wrong) == 5  # of quotas there are two


def test_a_lock_is_told_with_its_holder_and_the_id_that_breaks_it(bench: Bench, stacks: list[Stack]) -> None:
    bench.commands.replies[f"gcloud storage objects list gs://{BUCKET}/apx/dev/**/default.tflock"] = says(
        [{"name": "apx/dev/data/default.tflock", "generation": "1787242876096737"}]
    )
    bench.commands.replies["gcloud storage cat"] = says(LOCK)
    (wrong,) = preflight(bench.cloud, stacks).wrong
    assert wrong.startswith("dev-data: locked by eve@laptop (OperationTypeApply, since 2026-11-25T10:00:00Z): wait for")
    assert wrong.endswith("stacks/dev-data && terraform force-unlock 1787242876096737`")


def test_rights_that_are_missing_are_named(bench: Bench, stacks: list[Stack]) -> None:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:testIamPermissions"
    granted = [one for one in PERMISSIONS if one != "container.clusters.create"]
    bench.site.answers[url] = [Answer(200, msgspec.json.encode({"permissions": granted}))]
    (wrong,) = preflight(bench.cloud, stacks).wrong
    assert "lacks container.clusters.create: roles/owner, or the roles of the deployer" in wrong


def test_rights_that_cannot_be_asked_for_are_not_taken_for_granted(bench: Bench, stacks: list[Stack]) -> None:
    url = f"https://cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:testIamPermissions"
    bench.site.answers[url] = [Answer(403)]
    (wrong,) = preflight(bench.cloud, stacks).wrong
    assert wrong == "The rights of Terraform's account could not be asked for (403): try again."


def test_a_builder_is_asked_for_only_where_images_are_built(bench: Bench, stacks: list[Stack]) -> None:
    bench.commands.replies["docker"] = Done(NOT_THERE)
    assert preflight(bench.cloud, stacks).wrong == []
    (wrong,) = preflight(bench.cloud, stacks, builds=True).wrong
    assert wrong.startswith("docker is not here, or does not work: start it, or build elsewhere")


def test_a_quota_that_only_growth_would_meet_is_a_note(bench: Bench, stacks: list[Stack]) -> None:
    quotas = [{"metric": "CPUS", "limit": 24.0}, {"metric": "IN_USE_ADDRESSES", "limit": 8.0}]
    bench.commands.replies["gcloud compute regions describe"] = says({"quotas": quotas})
    found = preflight(bench.cloud, stacks)
    assert found.wrong == []
    assert "the quota CPUS is 24, and dev-workloads-us-central1 may grow to 50" in found.notes[-1]


def test_processors_are_counted_from_the_pods_that_are_synthesised(bench: Bench, stacks: list[Stack]) -> None:
    (workloads,) = (stack for stack in stacks if stack.needs_image)
    assert needs(bench.cloud, workloads)["CPUS"] == (2.0, 50.0)


def test_the_token_stands_in_no_command_and_no_message(bench: Bench, stacks: list[Stack]) -> None:
    bench.site.answers[f"https://cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:testIamPermissions"] = [
        Answer(500)
    ]
    found = preflight(bench.cloud, stacks)
    assert TOKEN not in str(found)
    assert not [text for text in bench.commands.texts() if TOKEN in text]
