"""`apx org member`: who may see and do what concerns an org over the control API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from apx import bootstrap
from apx.admission.members import Member, Members, shown_member
from apx.admission.operators import ROLES, Role, role_named
from apx.cli.output import AsJson, print_json, print_table
from apx.settings import Settings

app = typer.Typer(help="Look at the members of orgs, add and remove them.", no_args_is_help=True)

Org = Annotated[str, typer.Argument(help="An org's name.")]
Who = Annotated[str, typer.Argument(help="An e-mail address, or what a token is for.")]


@app.command()
def add(
    org: Org,
    who: Who,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}; each may what those before it may.")],
    as_json: AsJson = False,
) -> None:
    """Let somebody have a role in an org, at once, also in place of another one."""
    member, changed = asyncio.run(_added(org, who, role_named(role)))
    if as_json:
        return print_json({**shown_member(member), "changed": changed})
    return print(f"{member.who} is {member.role} of {org}{'' if changed else ' as before'}")


@app.command()
def remove(org: Org, who: Who, as_json: AsJson = False) -> None:
    """Let somebody have no role in an org any longer, at once."""
    member = asyncio.run(_removed(org, who))
    return print_json(shown_member(member)) if as_json else print(f"{member.who} is no member of {org} any longer")


@app.command("list")
def list_members(org: Org, as_json: AsJson = False) -> None:
    """List an org's members."""
    found = asyncio.run(_listed(org))
    if as_json:
        return print_json(list(map(shown_member, found)))
    return print_table(["WHO", "ROLE"], [(one.who, one.role) for one in found])


async def _added(org: str, who: str, role: Role) -> tuple[Member, bool]:
    async with _members() as members:
        return await members.add(org, who, role)


async def _removed(org: str, who: str) -> Member:
    async with _members() as members:
        return await members.remove(org, who)


async def _listed(org: str) -> list[Member]:
    async with _members() as members:
        return await members.listed(org)


@asynccontextmanager
async def _members() -> AsyncIterator[Members]:
    async with bootstrap.backends(Settings.load()) as backends:
        stores = backends.by(bootstrap.person())
        yield Members(stores.members, stores.orgs, stores.keys)
