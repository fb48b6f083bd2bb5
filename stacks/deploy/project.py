"""The project before anything is deployed to it: whose it is, who is asking, what is switched on, what it may hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from apx.errors import Unavailable
from stacks.deploy.cloud import Cloud, shown
from stacks.deploy.order import Stack

FIRST_APIS = ("cloudbilling", "cloudresourcemanager", "compute", "iam", "serviceusage", "storage")
"""What plans and this check ask before the first stack could switch it on; the others the stacks switch on."""
PERMISSIONS = (
    *("artifactregistry.repositories.create", "bigquery.datasets.create", "binaryauthorization.policy.update"),
    *("certificatemanager.certs.create", "cloudkms.cryptoKeys.setIamPolicy", "cloudkms.keyRings.create"),
    *("compute.backendServices.create", "compute.networks.create", "compute.securityPolicies.create"),
    *("container.clusters.create", "containeranalysis.notes.create", "datastore.databases.create"),
    *("gkebackup.backupPlans.create", "iam.roles.create", "iam.serviceAccounts.create"),
    *("iam.serviceAccounts.setIamPolicy", "logging.buckets.create", "logging.sinks.create"),
    *("memorystore.instances.create", "monitoring.alertPolicies.create", "pubsub.topics.create"),
    *("networkconnectivity.serviceConnectionPolicies.create", "resourcemanager.projects.setIamPolicy"),
    *("secretmanager.secrets.create", "serviceusage.services.enable", "storage.buckets.create"),
)
"""One of each service that the stacks make something in: who has it has, by Google's roles, the others too."""
TEST = "https://cloudresourcemanager.googleapis.com/v1/projects/{}:testIamPermissions"
SIGN_IN = "`gcloud auth login` (in a workflow: google-github-actions/auth)"
SIGN_IN_TERRAFORM = "`gcloud auth application-default login` (in a workflow: google-github-actions/auth)"
NODE_DISK_GB = 100
"""Of a node in mode standard (`stacks/cluster.py`)."""


class Project(msgspec.Struct, frozen=True):
    """What Google says of the project."""

    number: str
    account: str


def who_and_where(cloud: Cloud) -> tuple[Project | None, list[str]]:
    """Return the project and who asks; else everything that is in the way of knowing more."""
    wrong = []
    accounts = _or_none(cloud, "auth", "list", "--filter=status:ACTIVE")
    if not accounts:
        wrong.append(f"gcloud is not signed in: {SIGN_IN}.")
    if not _token(cloud):
        wrong.append(f"Terraform has no application default credentials: {SIGN_IN_TERRAFORM}.")
    if wrong or not accounts:
        return None, wrong
    wanted, account = cloud.environment.project, accounts[0]["account"]
    try:
        said = cloud.asked("projects", "describe", wanted)
    except Unavailable as error:
        where = f"stacks/environments/{cloud.environment.name}.yaml"
        ways = f"`gcloud projects create {wanted}`, or name yours as `project` in {where}"
        return None, [f"{account} cannot see the project {wanted} ({error}): {ways}."]
    if said["lifecycleState"] != "ACTIVE":
        wrong.append(f"The project {wanted} is {said['lifecycleState']}: `gcloud projects undelete {wanted}`.")
    if configured := _other(cloud):
        wrong.append(
            f"gcloud is set to the project {configured}, and {cloud.environment.name} is {wanted}: "
            f"`gcloud config set project {wanted}`, when that is where you mean to be."
        )
    return Project(said["projectNumber"], account), wrong


def may_not(cloud: Cloud, project: Project) -> Iterator[str]:
    """Tell which rights Terraform's account lacks."""
    headers = {
        "authorization": f"Bearer {_token(cloud)}",
        "content-type": "application/json",
        "x-goog-user-project": cloud.environment.project,
    }
    url = TEST.format(cloud.environment.project)
    answer = cloud.web.ask(url, headers=headers, body=msgspec.json.encode({"permissions": PERMISSIONS}))
    if answer.status != 200:  # noqa: PLR2004 -- HTTP's word for well
        yield f"The rights of Terraform's account could not be asked for ({answer.status or answer.detail}): try again."
        return
    granted = msgspec.json.decode(answer.body).get("permissions", ())
    if lacking := sorted(set(PERMISSIONS) - set(granted)):
        yield (
            f"Terraform's account ({project.account}, if gcloud's is the same) lacks {', '.join(lacking)}: "
            "roles/owner, or the roles of the deployer in stacks/identity.py, have them."
        )


def not_paid(cloud: Cloud) -> Iterator[str]:
    """Tell when nobody pays for the project."""
    project = cloud.environment.project
    said = _or_none(cloud, "billing", "projects", "describe", project)
    if not (said or {}).get("billingEnabled"):
        yield f"Nobody pays for {project}: `gcloud billing projects link {project} --billing-account=ACCOUNT`."


def apis_off(cloud: Cloud) -> list[str]:
    """Return the APIs that must be on and are not; all of them where that cannot be known."""
    listed = _or_none(cloud, "services", "list", "--enabled") or ()
    enabled = {one["config"]["name"] for one in listed}
    return [name for api in FIRST_APIS if (name := f"{api}.googleapis.com") not in enabled]


def apis_told(cloud: Cloud) -> Iterator[str]:
    """Tell of those APIs."""
    if off := apis_off(cloud):
        way = shown(cloud.argv("services", "enable", *off))
        yield f"APIs are off that the first plan needs: `{way}`, or --bootstrap."


def quotas(cloud: Cloud, stacks: Sequence[Stack]) -> Iterator[tuple[str, bool]]:
    """Tell of each quota that is too small, and whether the environment cannot even start with it."""
    for stack in stacks:
        if not stack.needs_image:
            continue
        try:
            said = cloud.asked("compute", "regions", "describe", stack.region)
        except Unavailable as error:
            yield f"The quotas of {stack.region} could not be read: {error}", True
            continue
        limits = {one["metric"]: float(one["limit"]) for one in said["quotas"]}
        for metric, (least, most) in needs(cloud, stack).items():
            limit = limits.get(metric, 0.0)
            if limit < most:
                page = f"https://console.cloud.google.com/iam-admin/quotas?project={cloud.environment.project}"
                reach = f"needs {least:g} to start" if limit < least else f"may grow to {most:g}"
                yield (
                    f"{stack.region}: the quota {metric} is {limit:g}, and {stack.name} {reach}: {page}",
                    limit < least,
                )


def needs(cloud: Cloud, stack: Stack) -> dict[str, tuple[float, float]]:
    """Return what the pods of a region take of its quotas, at least and at most."""
    cluster = cloud.environment.cluster
    nodes = len(next(r for r in cloud.environment.regions if r.name == stack.region).zones)
    found = {"CPUS": _processors(stack), "IN_USE_ADDRESSES": (1.0, 1.0)}
    if cluster.mode == "standard":
        disks = float(nodes * NODE_DISK_GB)
        found["SSD_TOTAL_GB"] = (disks, disks * cluster.most_nodes_per_zone)
    return found


def _processors(stack: Stack) -> tuple[float, float]:
    scaled = {
        one["spec"]["scale_target_ref"]["name"]: (one["spec"]["min_replicas"], one["spec"]["max_replicas"])
        for one in stack.resources("kubernetes_horizontal_pod_autoscaler_v2").values()
    }
    least = most = 0.0
    for one in stack.resources("kubernetes_deployment_v1").values():
        fixed = int(one["spec"].get("replicas", 1))
        low, high = scaled.get(one["metadata"]["name"], (fixed, fixed))
        each = sum(_cpu(container) for container in one["spec"]["template"]["spec"]["container"])
        least, most = least + low * each, most + high * each
    return least, most


def _cpu(container: Any) -> float:
    asked = str(container["resources"]["requests"]["cpu"])
    return float(asked.removesuffix("m")) / (1000 if asked.endswith("m") else 1)


def _token(cloud: Cloud) -> str:
    done = cloud.gcloud("auth", "application-default", "print-access-token")
    return done.text if done.ok else ""


def _other(cloud: Cloud) -> str:
    """Return the project that gcloud is set to, when it is another one."""
    done = cloud.commands.run(("gcloud", "config", "get-value", "project", "--quiet"))
    return done.text if done.ok and done.text not in ("", "(unset)", cloud.environment.project) else ""


def _or_none(cloud: Cloud, *arguments: str) -> Any:
    try:
        return cloud.asked(*arguments)
    except Unavailable:
        return None
