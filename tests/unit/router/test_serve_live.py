from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from apx.admission.admit import LiveProduct
from apx.rollout.follow import Follower
from services.router.__main__ import _serve_live
from services.router.app import Router


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_what_is_live_is_not_walked_by_the_garbage_collector() -> None:
    live = {"orders": [object()]}
    served: list[object] = []

    async def changes() -> AsyncIterator[object]:
        yield live

    follower = cast("Follower[LiveProduct]", SimpleNamespace(changes=changes))
    await _serve_live(follower, cast("Router", SimpleNamespace(serve=served.append)))
    assert served == [live]
    assert all(held is not live for held in gc.get_objects())
