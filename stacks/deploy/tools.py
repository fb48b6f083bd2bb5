"""Which programs a deployment needs, and which of them are there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stacks.deploy.commands import Commands

TERRAFORM_FLOOR = (1, 9)
INSTALL_TERRAFORM = "install it: https://developer.hashicorp.com/terraform/install"
NEEDED = {
    ("gcloud", "version"): "install it: https://cloud.google.com/sdk/docs/install",
    ("kubectl", "version", "--client"): "`gcloud components install kubectl`, or the package kubectl",
    ("gke-gcloud-auth-plugin", "--version"): (
        "`gcloud components install gke-gcloud-auth-plugin`, or the package google-cloud-cli-gke-gcloud-auth-plugin"
    ),
}
BUILDER = (("docker", "info"), "start it, or build elsewhere and name the image with --image")


def missing_tools(commands: Commands, *, builds: bool) -> Iterator[str]:
    """Tell of each program that is not there, is too old or does not work, with the way out."""
    yield from _terraform(commands)
    for argv, way in (*NEEDED.items(), *([BUILDER] if builds else [])):
        if not commands.run(argv).ok:
            yield f"{argv[0]} is not here, or does not work: {way}."


def _terraform(commands: Commands) -> Iterator[str]:
    done = commands.run(("terraform", "version"))
    found = re.search(r"v(\d+)\.(\d+)\.\d+", done.text)
    if not done.ok or found is None:
        yield f"terraform is not here, or does not work: {INSTALL_TERRAFORM}."
    elif (int(found[1]), int(found[2])) < TERRAFORM_FLOOR:
        yield f"terraform {found[0][1:]} is too old; it has to be 1.9 or later: {INSTALL_TERRAFORM}."
