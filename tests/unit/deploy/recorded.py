"""A cloud, a Terraform, a web and a person that answer as a test says, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stacks.deploy.commands import Done
from stacks.deploy.project import FIRST_APIS, PERMISSIONS
from stacks.deploy.web import Answer

PROJECT, NUMBER = "apx-dev-000000", "123456789012"
DIGEST = f"us-central1-docker.pkg.dev/{PROJECT}/apx/apx@sha256:{'a' * 64}"
TOKEN = "ya29.canary-token"
Reply = Done | Callable[["Ran"], Done]


class Ran(msgspec.Struct, frozen=True):
    """One command as it was run."""

    argv: tuple[str, ...]
    cwd: Path | None
    env: Mapping[str, str]
    secret: bytes | None

    @property
    def text(self) -> str:
        return " ".join(self.argv)

    @property
    def stack(self) -> str:
        return self.cwd.name if self.cwd else ""


class Recorded:
    """Answers commands by the longest of its texts that a command begins with; any other with nothing, and 0."""

    def __init__(self, replies: Mapping[str, Reply] | None = None) -> None:
        self.replies: dict[str, Reply] = {**WELL, **(replies or {})}
        self.ran: list[Ran] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        secret: bytes | None = None,
        shown_as: str = "",
    ) -> Done:
        del shown_as
        ran = Ran(tuple(argv), cwd, env or {}, secret)
        self.ran.append(ran)
        matching = [known for known in self.replies if ran.text.startswith(known)]
        reply = self.replies[max(matching, key=len)] if matching else Done(0)
        return reply if isinstance(reply, Done) else reply(ran)

    def texts(self, begin: str = "") -> list[str]:
        return [ran.text for ran in self.ran if ran.text.startswith(begin)]

    def stacks(self, begin: str) -> list[str]:
        """Return the stacks in whose folders commands that begin so were run."""
        return [ran.stack for ran in self.ran if ran.text.startswith(begin)]


class Typist:
    """Types these answers, one after the other; then nobody is there any more."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.said: list[str] = []

    @property
    def read(self) -> str:
        return "\n".join(self.said)

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask(self, question: str) -> str | None:
        self.asked.append(question)
        return self.answers.pop(0) if self.answers else None


class Site:
    """Servers, by their URLs, each with the answers that it gives in turn; the last one for ever."""

    def __init__(self, answers: Mapping[str, Sequence[Answer]] | None = None, *, address: str = "203.0.113.7") -> None:
        self.answers = {url: list(given) for url, given in (answers or {}).items()}
        self.address = address
        self.asked: list[str] = []

    def ask(self, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        del headers, body
        self.asked.append(url)
        if url.endswith(":testIamPermissions") and url not in self.answers:
            return Answer(200, msgspec.json.encode({"permissions": PERMISSIONS}))
        well = Answer(302) if url.startswith("https://control.") else Answer(200)
        given = self.answers.get(url, [well])
        return given.pop(0) if len(given) > 1 else given[0]

    def addresses(self, host: str) -> frozenset[str]:
        del host
        return frozenset({self.address} if self.address else ())


def says(value: Any, code: int = 0) -> Done:
    return Done(code, msgspec.json.encode(value))


def fails(stderr: str, code: int = 1) -> Done:
    return Done(code, stderr=stderr)


def plan_of(changes: Mapping[str, Sequence[str]], *, state: bool = True, **more: Any) -> Done:
    """Return what `terraform show -json` says of a plan with these actions on these resources."""
    resources = [
        {
            "address": address,
            "type": address.split(".", maxsplit=1)[0],
            "change": {"actions": list(actions), "before": {}, "after": {}},
        }
        for address, actions in changes.items()
    ]
    known = {"values": {"root_module": {"resources": [{"mode": "managed"}]}}}
    return says({"resource_changes": resources, "prior_state": known if state else {}, **more})


def planned(plans: Mapping[str, Mapping[str, Sequence[str]]], *, state: bool = True) -> dict[str, Reply]:
    """Return the answers of a Terraform that has these plans for these stacks, and no changes for others."""
    return {
        "terraform plan": lambda ran: Done(2 if plans.get(ran.stack) else 0),
        "terraform show": lambda ran: plan_of(plans.get(ran.stack, {}), state=state),
    }


WELL: Mapping[str, Reply] = {
    "terraform version": Done(0, b"Terraform v1.11.4\non linux_amd64\n"),
    "terraform output": says({"address-record": {"value": {"dev.apx.example": "203.0.113.7"}}}),
    "terraform show": plan_of({}),
    "gcloud auth list": says([{"account": "ops@apx.example", "status": "ACTIVE"}]),
    "gcloud auth application-default print-access-token": Done(0, TOKEN.encode()),
    "gcloud config get-value project": Done(0, PROJECT.encode()),
    "gcloud projects describe": says({"projectNumber": NUMBER, "lifecycleState": "ACTIVE"}),
    "gcloud billing projects describe": says({"billingEnabled": True}),
    "gcloud services list": says([{"config": {"name": f"{api}.googleapis.com"}} for api in FIRST_APIS]),
    "gcloud compute regions describe": says(
        {"quotas": [{"metric": name, "limit": 500.0} for name in ("CPUS", "IN_USE_ADDRESSES", "SSD_TOTAL_GB")]}
    ),
    "gcloud storage buckets describe": says(
        {
            "location": "US-CENTRAL1",
            "projectNumber": NUMBER,
            "versioning": {"enabled": True},
            "iamConfiguration": {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": {"enabled": True}},
        }
    ),
    "gcloud storage objects list": fails("ERROR: (gcloud.storage.objects.list) One or more URLs matched no objects."),
    f"gcloud storage objects list gs://{PROJECT}-tfstate/apx/dev/**/default.tfstate": says(
        [{"name": "apx/dev/encryption/default.tfstate", "generation": "1"}]
    ),
    f"gcloud storage objects list gs://{PROJECT}-apx-us-central1/releases/": says([{"name": "releases/0.json"}]),
    "gcloud secrets versions list": says([{"name": "1"}]),
}
"""A project in which everything is as it has to be."""
