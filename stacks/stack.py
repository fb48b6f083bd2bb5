"""The base of every stack: one Terraform state, one environment, labels on everything."""

from __future__ import annotations

from cdktf import GcsBackend, TerraformResource, TerraformStack
from cdktf_cdktf_provider_google.provider import GoogleProvider
from constructs import Construct

from stacks.environment import Environment

SUPPRESSED = "checkov_skip"
"""Where in the synthesised resource's `//` the reasons stand that `tests/stacks/test_checkov.py` reads."""


class ApxStack(TerraformStack):
    """A stack of an environment, `<environment>-<name>`, with its state in the environment's bucket."""

    def __init__(self, scope: Construct, environment: Environment, name: str) -> None:
        super().__init__(scope, f"{environment.name}-{name}")
        self.environment = environment
        GcsBackend(self, bucket=environment.state_bucket, prefix=f"apx/{environment.name}/{name}")
        GoogleProvider(
            self,
            "google",
            project=environment.project,
            region=environment.home.name,
            default_labels={"app": "apx", "environment": environment.name, "stack": name},
        )


def suppress(resource: TerraformResource, check: str, reason: str) -> None:
    """Accept one failed check of checkov (`CKV_GCP_…`) on one resource, with the reason beside it."""
    resource.add_override(f"//.{SUPPRESSED}.{check}", reason)
