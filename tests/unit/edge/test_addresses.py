from __future__ import annotations

from collections.abc import Sequence

import pytest

from apx.catalog.model import Jwt
from services.edge.addresses import judged, names_to_judge
from services.edge.settings import EdgeSettings
from tests.unit.edge.manifests import manifest


async def _look_up(name: str) -> Sequence[str]:
    found = {
        "public.test": ["8.8.8.8", "2606:4700::1111"],
        "inside.test": ["10.0.0.1"],
        "mixed.test": ["8.8.8.8", "127.0.0.1"],
        "metadata.test": ["169.254.169.254"],
        "mapped.test": ["::ffff:127.0.0.1"],
        "nat64.test": ["64:ff9b::a9fe:a9fe"],
    }
    if name not in found:
        raise OSError("unknown")
    return found[name]


async def test_a_public_name_gets_its_addresses() -> None:
    assert await judged({"public.test"}, {}, _look_up) == {"public.test": ("8.8.8.8", "2606:4700::1111")}


@pytest.mark.parametrize("name", ["inside.test", "mixed.test", "metadata.test", "mapped.test", "nat64.test"])
async def test_a_name_that_leads_inside_has_no_address_whatever_it_had(name: str) -> None:
    assert await judged({name}, {name: ("8.8.8.8",)}, _look_up) == {name: ()}


async def test_a_name_that_is_not_answered_for_keeps_what_it_had() -> None:
    known = {"away.test": ("8.8.8.8",)}
    assert await judged({"away.test", "never.test"}, known, _look_up) == {"away.test": ("8.8.8.8",), "never.test": ()}


def test_only_names_that_may_not_be_private_are_judged() -> None:
    settings = EdgeSettings(connect_to="mapped.test:80=127.0.0.1:9")
    keys = Jwt(issuer="i", audiences=("a",), jwks_url="https://keys.test/jwks")
    manifests = [
        manifest("a", url="http://public.test", allow_private=False),
        manifest("b", url="http://private.test", allow_private=True),
        manifest("c", url="http://mapped.test", allow_private=False),
        manifest("d", url="http://8.8.8.8", allow_private=False),
        manifest("e", url="http://async.test", mode="async", allow_private=False, jwt=keys),
        manifest("f", url="nonsense", allow_private=False),
    ]
    assert names_to_judge(manifests, settings) == {"public.test", "keys.test"}
