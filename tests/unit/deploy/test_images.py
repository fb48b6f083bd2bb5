from __future__ import annotations

from pathlib import Path

import pytest

from apx.errors import Misconfigured, Unavailable
from stacks.deploy.commands import Done
from stacks.deploy.images import Builder
from tests.unit.deploy.conftest import Bench
from tests.unit.deploy.recorded import DIGEST, fails, says

COMMIT = "c" * 40
REPOSITORY = "us-central1-docker.pkg.dev/apx-dev-000000/apx/apx"
SIGN = "gcloud container binauthz attestations sign-and-create"


@pytest.fixture
def builder(bench: Bench) -> Builder:
    summary = says({"image_summary": {"digest": DIGEST.partition("@")[2]}})

    def built() -> bool:
        return bool(bench.commands.texts("docker buildx build"))

    bench.commands.replies.update(
        {
            "git rev-parse": Done(0, COMMIT.encode()),
            "gcloud artifacts docker images describe": lambda _: summary if built() else fails("ERROR: not found"),
            "gcloud container binauthz attestations list": says([]),
        }
    )
    return Builder(bench.cloud, Path("/repository"))


def test_a_commit_is_built_pushed_and_attested(bench: Bench, builder: Builder) -> None:
    assert builder.build() == DIGEST
    (build,) = bench.commands.texts("docker buildx build")
    assert "--sbom=true --provenance=mode=max --push --file services/Dockerfile" in build
    assert f"--tag {REPOSITORY}:{COMMIT} ." in build
    (signed,) = bench.commands.texts(SIGN)
    assert f"--artifact-url={DIGEST} --attestor=apx-dev-provenance" in signed
    assert "keyRings/apx-dev-provenance/cryptoKeys/attestation/cryptoKeyVersions/1" in signed


def test_what_is_in_the_registry_is_not_built_again(bench: Bench, builder: Builder) -> None:
    summary = {"image_summary": {"digest": DIGEST.partition("@")[2]}}
    bench.commands.replies["gcloud artifacts docker images describe"] = says(summary)
    bench.commands.replies["gcloud container binauthz attestations list"] = says([{"name": "a"}])
    assert builder.build() == DIGEST
    assert not bench.commands.texts("docker")
    assert not bench.commands.texts(SIGN)


def test_what_is_not_committed_is_not_built(bench: Bench, builder: Builder) -> None:
    bench.commands.replies["git status"] = Done(0, b" M apx/errors.py")
    with pytest.raises(Misconfigured, match="there are changes that are not: commit them"):
        builder.build()


def test_a_build_that_fails_ends_it(bench: Bench, builder: Builder) -> None:
    bench.commands.replies["docker buildx build"] = fails("ERROR: no space left")
    with pytest.raises(Unavailable, match="failed: ERROR: no space left"):
        builder.build()
    assert not bench.commands.texts(SIGN)


def test_a_builder_that_is_there_already_is_used(bench: Bench, builder: Builder) -> None:
    bench.commands.replies["docker buildx create"] = fails("ERROR: existing instance for apx")
    assert builder.build() == DIGEST


def test_what_the_registry_does_not_know_is_not_signed_for(bench: Bench, builder: Builder) -> None:
    bench.commands.replies["gcloud artifacts docker images describe"] = fails("ERROR: not found")
    with pytest.raises(Unavailable, match="the registry does not know it"):
        builder.build()
    assert not bench.commands.texts(SIGN)
