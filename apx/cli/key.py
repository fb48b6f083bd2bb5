"""`apx key`: create, show, limit, rotate, revoke and import; take back what leaked."""

from __future__ import annotations

import asyncio
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from apx import bootstrap
from apx.admission.imports import MOST_LINE_BYTES, Imported, import_keys
from apx.admission.issue import Rotated, issue_key, limit_key, rotate_key
from apx.admission.keys import KeyRecord, limits_text, shown_key
from apx.admission.leaks import keys_in, revoke_leaked
from apx.admission.terms import PERIODS, Terms
from apx.catalog.load import load_catalog
from apx.catalog.model import Per, Rate
from apx.cli.output import AsJson, moment, print_fields, print_json, print_table
from apx.errors import NotFound, Unsupported
from apx.settings import Settings

app = typer.Typer(help="Give out, change and take back API keys.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="The key's id: key_…")]
Gitops = Annotated[Path, typer.Option("--gitops", envvar="APX_GITOPS")]
Source = Annotated[str, typer.Argument(metavar="FILE|-", help="A file, or - for standard input.")]
PerSecond = Annotated[float | None, typer.Option("--rate", help="Of its own over all products: requests a second.")]
Burst = Annotated[int | None, typer.Option(help="With --rate: how many at once; by default those of a second.")]
Quotas = Annotated[list[str] | None, typer.Option("--quota", help="hour=N, day=N or month=N requests.")]
_PERIOD = re.compile(r"([0-9]{1,9})([smhd])")
_COUNT = re.compile("[0-9]{1,15}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PIECE = 1 << 20


@app.command()
def create(  # noqa: PLR0917 -- typer's options have names
    org: Annotated[str, typer.Option(help="Whose key it is.")],
    environment: Annotated[str, typer.Option(help="Becomes part of the key's prefix.")] = "local",
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[str, typer.Option(help="When it ends: 90d, 12h, or 2027-01-31T12:00:00Z.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="PRODUCT or PRODUCT=GET,POST: nothing else, then.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Network that it may be used from: 203.0.113.0/24.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, for yourself.")] = None,
    rate: PerSecond = None,
    burst: Burst = None,
    quota: Quotas = None,
    gitops: Gitops = Path("gitops"),
    as_json: AsJson = False,
) -> None:
    """Make a key with the org's entitlements, and show it this once."""
    terms = Terms(
        scopes={product: _words(methods) for product, _, methods in (one.partition("=") for one in scope or ())},
        allowlist=tuple(allow or ()),
        metadata={name: value for name, _, value in (one.partition("=") for one in metadata or ())},
        expires_ms=_moment_ms(expires) if expires else None,
        rate=_rate(rate, burst),
        quotas=_quotas(quota or ()),
    )
    key, record = asyncio.run(_create(gitops, org, environment, note, terms))
    if as_json:
        return print_json({"key": key, **shown_key(record)})
    print(key)
    return typer.echo(f"{record.id} for {org}: stored as a hash only, so this is the one time it is shown", err=True)


@app.command("list")
def list_keys(
    org: Annotated[str | None, typer.Option(help="Only this org's.")] = None, as_json: AsJson = False
) -> None:
    """List keys, without the keys themselves."""
    records = asyncio.run(_list(org))
    if as_json:
        return print_json([shown_key(record) for record in records])
    rows = [
        (r.id, r.org, ",".join(sorted(r.plans)), moment(r.created_ms / 1000), limits_text(r), r.note) for r in records
    ]
    return print_table(["KEY", "ORG", "PRODUCTS", "CREATED", "LIMITS", "NOTE"], rows)


@app.command()
def show(key_id: KeyId, as_json: AsJson = False) -> None:
    """Show what is known of a key, without the key itself."""
    record = asyncio.run(_show(key_id))
    shown = shown_key(record)
    if as_json:
        return print_json(shown)
    return print_fields(shown)


@app.command()
def limit(
    key_id: KeyId, rate: PerSecond = None, burst: Burst = None, quota: Quotas = None, as_json: AsJson = False
) -> None:
    """Give a key these limits of its own in place of those it has: none, without options. What it used stays used."""
    record = asyncio.run(_limit(key_id, _rate(rate, burst), _quotas(quota or ())))
    if as_json:
        return print_json(shown_key(record))
    return print(f"{record.id} of {record.org}: {limits_text(record) or 'no limits of its own'}")


@app.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[str, typer.Option(help="How long the old one still works: 24h, 30m, 0s.")] = "24h",
    environment: Annotated[str, typer.Option(help="Of the new one; by default the old one's.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make another key on the same terms, and show it this once; the old one ends after the grace period."""
    rotated = asyncio.run(_rotate(key_id, period_s(grace), environment))
    if as_json:
        return print_json(rotated.shown())
    ends_ms = rotated.old.expires_ms or 0
    print(rotated.key)
    said = f"{rotated.new.id} replaces {rotated.old.id}, which works until {moment(ends_ms / 1000)}"
    return typer.echo(said, err=True)


@app.command()
def revoke(key_id: KeyId, as_json: AsJson = False) -> None:
    """Take a key back for good; routers refuse it within a second, and end what it has open."""
    record = asyncio.run(_revoke(key_id))
    if as_json:
        return print_json({"id": record.id, "org": record.org, "revoked": True})
    return print(f"{record.id} of {record.org} is revoked")


@app.command("import")
def import_hashed(  # noqa: PLR0917 -- typer's options have names
    source: Source,
    rate: PerSecond = None,
    burst: Burst = None,
    quota: Quotas = None,
    gitops: Gitops = Path("gitops"),
    as_json: AsJson = False,
) -> None:
    """Take over hashed keys of another system: JSON lines of sha256, org, prefix, and what else docs/keys.md names.

    The limits given here are those of lines that name none.
    """
    own = Terms(rate=_rate(rate, burst), quotas=_quotas(quota or ()))
    imported = asyncio.run(_import(gitops, source, own))
    if as_json:
        return print_json({"added": [record.id for record in imported.added], "known": imported.known})
    for record in imported.added:
        print(record.id)
    return typer.echo(f"{len(imported.added)} imported, {imported.known} were there already", err=True)


@app.command()
def leaked(source: Source, as_json: AsJson = False) -> None:
    """Revoke each key of ours that stands in a text, and print its id. Exit code 2 when there was one."""
    records = asyncio.run(_leaked(source, (lambda _: None) if as_json else print))
    if as_json:
        print_json([{"id": record.id, "org": record.org, "revoked": True} for record in records])
    raise typer.Exit(2 if records else 0)


async def _create(gitops: Path, org: str, environment: str, note: str, terms: Terms) -> tuple[str, KeyRecord]:
    catalog = load_catalog(gitops)
    async with bootstrap.backends(Settings.load()) as backends:
        keys = backends.by(bootstrap.person()).keys
        return await issue_key(
            keys, catalog, org, environment=environment, note=note, clock=bootstrap.CLOCK, terms=terms
        )


async def _list(org: str | None) -> list[KeyRecord]:
    async with bootstrap.backends(Settings.load()) as backends:
        return await backends.keys.list_keys(org)


async def _show(key_id: str) -> KeyRecord:
    async with bootstrap.backends(Settings.load()) as backends:
        return _found(await backends.keys.named(key_id), key_id)


async def _rotate(key_id: str, grace_s: float, environment: str) -> Rotated:
    async with bootstrap.backends(Settings.load()) as backends:
        keys = backends.by(bootstrap.person()).keys
        return await rotate_key(keys, key_id, clock=bootstrap.CLOCK, grace_s=grace_s, environment=environment)


async def _limit(key_id: str, rate: Rate | None, quotas: dict[Per, int]) -> KeyRecord:
    async with bootstrap.backends(Settings.load()) as backends:
        return await limit_key(backends.by(bootstrap.person()).keys, key_id, rate, quotas)


async def _revoke(key_id: str) -> KeyRecord:
    async with bootstrap.backends(Settings.load()) as backends:
        return _found(await backends.by(bootstrap.person()).keys.revoke(key_id), key_id)


async def _import(gitops: Path, source: str, own: Terms) -> Imported:
    catalog = load_catalog(gitops)
    with _opened(source) as text:
        lines = iter(lambda: text.readline(MOST_LINE_BYTES + 1), b"")
        async with bootstrap.backends(Settings.load()) as backends:
            return await import_keys(backends.by(bootstrap.person()).keys, catalog, lines, bootstrap.CLOCK, own)


async def _leaked(source: str, tell: Callable[[str], None]) -> list[KeyRecord]:
    records = []
    with _opened(source) as text:
        pieces = iter(lambda: text.read(_PIECE), b"")
        async with bootstrap.backends(Settings.load()) as backends:
            async for record in revoke_leaked(backends.by(bootstrap.person()).keys, keys_in(pieces)):
                tell(record.id)  # at once: what was revoked before the store went away is known
                records.append(record)
    return records


def _found(record: KeyRecord | None, key_id: str) -> KeyRecord:
    if record is None:
        raise NotFound(f"no key {key_id!r}; `apx key list` shows them")
    return record


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
        return
    with Path(source).open("rb") as file:
        yield file


def _rate(per_second: float | None, burst: int | None) -> Rate | None:
    if per_second is None:
        if burst is not None:
            raise Unsupported("--burst: it says how many at once of a --rate")
        return None
    if not math.isfinite(per_second):
        raise Unsupported(f"--rate: {per_second} is no number of requests a second")
    return Rate(per_second=per_second, burst=max(1, math.ceil(per_second)) if burst is None else burst)


def _quotas(texts: Iterable[str]) -> dict[Per, int]:
    quotas: dict[Per, int] = {}
    for text in texts:
        name, _, requests = text.partition("=")
        per = next((one for one in PERIODS if one == name), None)
        if per is None or per in quotas or not _COUNT.fullmatch(requests):
            raise Unsupported(f"--quota {text[:40]!r}: each of hour=N, day=N and month=N once, as in day=1000")
        quotas[per] = int(requests)
    return quotas


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip().upper() for word in text.split(",") if word.strip())


def period_s(text: str) -> float:
    """Read a period: 24h, 30m. Raises `Unsupported`."""
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise Unsupported(f"{text[:40]!r} is no period: a whole number and s, m, h or d, as in 24h")
    return int(found[1]) * _UNITS[found[2]]


def _moment_ms(text: str) -> int:
    if _PERIOD.fullmatch(text):
        return int((bootstrap.CLOCK.time() + period_s(text)) * 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unsupported(f"{text[:40]!r} is neither a period (90d) nor a time (2027-01-31T12:00:00Z)") from error
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
