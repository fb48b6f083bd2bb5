"""Under which release a queued request is carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apx.backends.files.releases import FileReleaseStore
from apx.catalog.model import Backend, OnAbort, ProductSpec, RolloutSpec, Route
from apx.errors import NotFound
from apx.release.load import Loader
from apx.requests.model import Envelope
from apx.requests.specs import ReleasedSpecs
from apx.rollout.active import Aborted, Active
from apx.rollout.arms import Arms
from tests.contract.requests_examples import envelope
from tests.unit.release.examples import TRUSTED, manifest, spec, stored

STABLE = "sha256:" + "5" * 64


def queued(release: str, **fields: Any) -> Envelope:
    return envelope(**{"product": "orders", "release": release, "method": "POST", "path": "/", **fields})


async def admitted_by(folder: Path, **changes: Any) -> str:
    return await stored(folder, manifest("orders", spec(**changes)))


def serving(folder: Path, on_abort: OnAbort = "finish", aborted: tuple[str, ...] = ()) -> ReleasedSpecs:
    specs = ReleasedSpecs(Loader(FileReleaseStore(folder), TRUSTED))
    stable = spec(backend=Backend(url="http://stable.example", timeout_s=7), rollout=RolloutSpec(on_abort=on_abort))
    taken_back = tuple(Aborted(digest=digest, at_ms=0, reason="") for digest in aborted)
    active = Active(product="orders", stable=STABLE, aborted=taken_back)
    arms: Arms[ProductSpec] = Arms(active=active, stable=stable, stable_digest=STABLE)
    specs.serve({"orders": arms})
    return specs


async def test_what_serves_is_known_without_a_look(tmp_path: Path) -> None:
    assert (await serving(tmp_path).terms(queued(STABLE))).spec.backend.url == "http://stable.example"


@pytest.mark.parametrize("on_abort", ["finish", "readmit", "cancel"])
async def test_a_request_runs_under_the_release_that_admitted_it(tmp_path: Path, on_abort: OnAbort) -> None:
    own = await admitted_by(tmp_path, title="Before")
    terms = await serving(tmp_path, on_abort).terms(queued(own))
    assert (terms.spec.title, terms.envelope.release, terms.ended) == ("Before", own, None)


async def test_a_release_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await serving(tmp_path).terms(queued("sha256:" + "0" * 64))


async def test_finish_lets_a_release_that_was_taken_back_end_what_it_began(tmp_path: Path) -> None:
    own = await admitted_by(tmp_path, title="Bad")
    terms = await serving(tmp_path, "finish", (own,)).terms(queued(own))
    assert (terms.spec.title, terms.ended) == ("Bad", None)


async def test_readmit_runs_it_under_the_stable_release(tmp_path: Path) -> None:
    own = await admitted_by(tmp_path, title="Bad")
    terms = await serving(tmp_path, "readmit", (own,)).terms(queued(own, timeout_s=99.0))
    assert (terms.spec.backend.url, terms.envelope.release) == ("http://stable.example", STABLE)
    assert (terms.envelope.timeout_s, terms.ended) == (7, None)


async def test_readmit_fails_what_the_stable_release_has_no_route_for(tmp_path: Path) -> None:
    own = await admitted_by(tmp_path, routes=(Route(path="/new", methods=("POST",)),))
    terms = await serving(tmp_path, "readmit", (own,)).terms(queued(own, path="/new/and/deep"))
    assert terms.ended is not None
    assert (terms.ended[0], terms.ended[1].code) == ("failed", "release-taken-back")


async def test_cancel_ends_it_without_a_call(tmp_path: Path) -> None:
    own = await admitted_by(tmp_path, title="Bad")
    terms = await serving(tmp_path, "cancel", (own,)).terms(queued(own))
    assert terms.ended is not None
    assert (terms.ended[0], terms.ended[1].code) == ("cancelled", "release-taken-back")


async def test_what_was_taken_back_and_serves_again_is_as_any_other(tmp_path: Path) -> None:
    terms = await serving(tmp_path, "cancel", (STABLE,)).terms(queued(STABLE))
    assert terms.ended is None
