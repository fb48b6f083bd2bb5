"""What tokens of the control API say: a role over the platform, one in an org, or who somebody is."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from apx.admission.operators import ROLES, Operator, Operators, Role
from apx.clock import ManualClock
from apx.errors import NotFound, Unsupported

OPERATORS = Operators(b"o" * 32, ManualClock())


def minted(role: Role | None, org: str = "") -> str:
    return OPERATORS.mint("ann", role, org=org, hours=1, random=bytes)


def forged(**changes: Any) -> str:
    """A token under the right key that nobody here would have made."""
    claims = jwt.decode(minted("admin"), options={"verify_signature": False})
    said = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    return jwt.encode(said, OPERATORS._key, algorithm="HS256")  # noqa: SLF001


def test_a_token_says_one_of_three_things() -> None:
    assert OPERATORS.read(minted("operator")) == Operator("ann", "operator")
    assert OPERATORS.read(minted("operator", "acme")) == Operator("ann", None, {"acme": "operator"})
    assert OPERATORS.read(minted(None)) == Operator("ann", None, member=True)


def test_a_role_in_an_org_is_not_where_an_older_version_looks_for_one() -> None:
    for token in (minted("admin", "acme"), minted(None)):
        assert "role" not in jwt.decode(token, options={"verify_signature": False})


def test_an_org_without_a_role_is_not_minted() -> None:
    with pytest.raises(Unsupported, match="acme says its role"):
        minted(None, "acme")


@pytest.mark.parametrize(
    "claims",
    [
        {"orgs": {"acme": "admin"}},
        {"member": True},
        {"role": ..., "orgs": {"acme": "root"}},
        {"role": ..., "orgs": {}},
        {"role": ..., "orgs": ["acme"]},
        {"role": ..., "orgs": {"acme": "admin"}, "member": True},
        {"role": ..., "member": 1},
        {"role": ..., "member": False},
        {"role": ...},
        {"role": "root"},
    ],
    ids=str,
)
def test_what_says_more_or_less_is_nobodys(claims: dict[str, Any]) -> None:
    assert OPERATORS.read(forged(**claims)) is None


def test_a_role_in_an_org_reaches_no_further() -> None:
    for at, role in enumerate(ROLES):
        one = Operator("ann", None, {"acme": role})
        assert [one.may(other, "acme") for other in ROLES] == [other <= at for other in range(len(ROLES))]
        assert not any(one.may(other, org) for other in ROLES for org in ("globex", "", None))


def test_a_role_over_the_platform_is_one_in_every_org_and_adds_to_one_there() -> None:
    one = Operator("ann", "viewer", {"acme": "admin"})
    assert one.may("admin", "acme")
    assert one.may("viewer", "globex")
    assert not one.may("operator", "globex")
    assert not one.may("operator")


def test_who_lists_is_asked_for_their_orgs_alone() -> None:
    assert Operator("ann", "viewer").asks(None) == [None]
    assert Operator("ann", "viewer").asks("any") == ["any"]
    member = Operator("ann", None, {"globex": "viewer", "acme": "admin"})
    assert member.asks(None) == ["acme", "globex"]
    assert member.asks("acme") == ["acme"]
    with pytest.raises(NotFound):
        member.asks("other")
