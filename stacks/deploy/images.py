"""The one image of every process: its name, and how it is built, pushed and attested where that is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from apx.errors import Misconfigured, Unavailable
from stacks.deploy.cloud import Cloud, last_line, shown
from stacks.deploy.commands import Done
from stacks.environment import IMAGE

ROOT = Path(__file__).resolve().parents[2]
BUILDER = "apx"


def checked(image: str) -> str:
    """Return an image's name when it has a digest. Raises `Misconfigured`."""
    if not re.fullmatch(IMAGE, image):
        raise Misconfigured(
            f"--image {image}: name the image by its digest, <repository>@sha256:<64 hexadecimal digits>; a tag may "
            "mean another one tomorrow."
        )
    return image


class Builder(msgspec.Struct, frozen=True):
    """Builds what is committed, pushes it to the environment's registry and attests it, each once."""

    cloud: Cloud
    root: Path = ROOT

    @property
    def host(self) -> str:
        """Return the registry's host."""
        return f"{self.cloud.environment.home.name}-docker.pkg.dev"

    @property
    def repository(self) -> str:
        """Return where the image is pushed (`stacks/artifacts.py`)."""
        return f"{self.host}/{self.cloud.environment.project}/apx/apx"

    def build(self) -> str:
        """Return the image of this commit by its digest, attested. Raises `Misconfigured`, `Unavailable`."""
        if self._git("status", "--porcelain"):
            raise Misconfigured("--build builds what is committed, and there are changes that are not: commit them.")
        revision = self._git("rev-parse", "HEAD")
        image = self._pushed(revision) or self._push(revision)
        self._attest(checked(image))
        return image

    def _pushed(self, revision: str) -> str:
        tagged = f"{self.repository}:{revision}"
        done = self.cloud.gcloud("artifacts", "docker", "images", "describe", tagged, "--format=json")
        if not done.ok:
            return ""
        return f"{self.repository}@{msgspec.json.decode(done.stdout)['image_summary']['digest']}"

    def _push(self, revision: str) -> str:
        tagged = f"{self.repository}:{revision}"
        self._must(self.cloud.argv("auth", "configure-docker", self.host))
        what = ("--file", "services/Dockerfile", "--build-arg", f"REVISION={revision}", "--tag", tagged, ".")
        # Docker's own builder writes no attestations: one in a container does, and lies beside the image what is in it
        # (SPDX) and how it was made (SLSA).
        self._must(("docker", "buildx", "create", "--name", BUILDER, "--driver", "docker-container"), may_fail=True)
        beside = ("--sbom=true", "--provenance=mode=max", "--push")
        self._must(("docker", "buildx", "build", "--builder", BUILDER, "--platform", "linux/amd64", *beside, *what))
        pushed = self._pushed(revision)
        if not pushed:
            raise Unavailable(f"{tagged} was pushed, and the registry does not know it")
        return pushed

    def _attest(self, image: str) -> None:
        """Sign for the image: the clusters run nothing else (`stacks/provenance.py`)."""
        environment = self.cloud.environment
        name = f"apx-{environment.name}-provenance"
        of = (f"--artifact-url={image}", f"--attestor={name}", f"--attestor-project={environment.project}")
        if self.cloud.asked("container", "binauthz", "attestations", "list", *of):
            return
        ring = f"projects/{environment.project}/locations/{environment.home.name}/keyRings/{name}"
        key = f"--keyversion={ring}/cryptoKeys/attestation/cryptoKeyVersions/1"
        self._must(self.cloud.argv("container", "binauthz", "attestations", "sign-and-create", *of, key))

    def _git(self, *arguments: str) -> str:
        return self._must(("git", *arguments), quiet=True).text

    def _must(self, argv: Sequence[str], *, quiet: bool = False, may_fail: bool = False) -> Done:
        done = self.cloud.commands.run(argv, cwd=self.root, shown_as="" if quiet else argv[0])
        if not done.ok and not may_fail:
            raise Unavailable(f"`{shown(argv)}` failed: {last_line(done)}")
        return done
