"""Take over the keys of another system by their hashes: JSON lines, all of them or none.

    {"sha256": "9f86d0…", "org": "acme", "prefix": "sk_live_", "plans": {"orders": "free"}, "note": "from Kong"}

A hash without salt stands for its key only as far as that cannot be guessed: nothing here can tell whether it can.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec

from apx.admission.bodies import has_one_reading
from apx.admission.issue import holder_of
from apx.admission.keys import FOREIGN_PREFIX, OURS, KeyRecord, KeyStore
from apx.admission.terms import NONE, Terms
from apx.catalog.model import Catalog, Per, Rate
from apx.clock import Clock
from apx.errors import ApxError, Unsupported

MOST_LINES, MOST_LINE_BYTES = 100_000, 16_384
_MOST_SAID = 20
_SHA256 = re.compile("[0-9a-f]{64}")


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key of the other system."""

    sha256: str
    org: str
    prefix: str
    """What the key begins with: only what begins so is ever looked for."""
    plans: dict[str, str] | None = None
    """Some of the org's entitlements; by default all."""
    note: str = ""
    scopes: dict[str, tuple[str, ...]] = {}
    allowlist: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    expires_ms: int | None = None
    rate: Rate | None = None
    quotas: dict[Per, int] = {}


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an import."""

    added: list[KeyRecord]
    known: int
    """Keys that were there before."""


async def import_keys(
    store: KeyStore, catalog: Catalog, lines: Iterable[bytes], clock: Clock, own: Terms = NONE
) -> Imported:
    """Store keys by their hashes; those that are there already stay as they are, so that it can be repeated.

    A line that names no limits of its key has those of `own`.

    Raises `Unsupported` with the number of each wrong line, and then nothing was stored; `Unavailable`.
    """
    records = _read(lines, catalog, int(clock.time() * 1000), own)
    found = [(record, await store.find(record.sha256)) for record in records]
    taken = [one.id for one, there in found if there is not None and there.org != one.org]
    if taken:
        raise Unsupported(f"{len(taken)} of these keys are stored for another org; nothing was imported")
    new = [record for record, there in found if there is None]
    for prefix in sorted({record.prefix for record in new} - await store.prefixes()):
        await store.declare(prefix)
    for record in new:
        await store.put(record)
    return Imported(added=new, known=len(records) - len(new))


def _read(lines: Iterable[bytes], catalog: Catalog, now_ms: int, own: Terms) -> list[KeyRecord]:
    records: dict[str, KeyRecord] = {}
    wrong: list[str] = []
    for number, line in enumerate(lines, 1):
        if number > MOST_LINES:
            raise Unsupported(f"more than {MOST_LINES} lines: import them in parts")
        if not line.strip():
            continue
        try:
            record = _record(line, catalog, now_ms, own)
            if record.sha256 in records:
                raise Unsupported("sha256: it stands in an earlier line too")
            records[record.sha256] = record
        except ApxError as error:
            wrong.append(f"line {number}: {error}")
        if len(wrong) >= _MOST_SAID:
            break
    if wrong:
        raise Unsupported("\n".join([*wrong, "nothing was imported"]))
    return list(records.values())


def _record(raw: bytes, catalog: Catalog, now_ms: int, own: Terms) -> KeyRecord:
    line = _line(raw)
    if _SHA256.fullmatch(line.sha256.lower()) is None:
        raise Unsupported("sha256: it is not 64 hexadecimal digits")
    _check_prefix(line.prefix)
    holder = holder_of(catalog, line.org)
    plans = dict(holder.plans) if line.plans is None else _entitled(line.plans, holder.plans, line.org)
    limits = line if line.rate is not None or line.quotas else own
    terms = Terms(
        scopes=line.scopes,
        allowlist=line.allowlist,
        metadata=line.metadata,
        expires_ms=line.expires_ms,
        note=line.note,
        rate=limits.rate,
        quotas=limits.quotas,
    ).checked(plans, now_ms)
    sha256 = line.sha256.lower()
    return KeyRecord(
        id=f"key_{hashlib.sha256(b'imported ' + sha256.encode()).hexdigest()[:16]}",  # the same when it is repeated
        sha256=sha256,
        org=line.org,
        region=holder.region,
        plans=plans,
        created_ms=now_ms,
        note=terms.note,
        expires_ms=terms.expires_ms,
        scopes=terms.scopes,
        allowlist=terms.allowlist,
        metadata=terms.metadata,
        prefix=line.prefix,
        rate=terms.rate,
        quotas=terms.quotas,
    )


def _line(raw: bytes) -> Line:
    if len(raw) > MOST_LINE_BYTES:
        raise Unsupported(f"over {MOST_LINE_BYTES} bytes")
    try:
        line = msgspec.json.decode(raw, type=Line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unsupported(str(error)[:200]) from error
    if not has_one_reading(raw):
        raise Unsupported("a name stands twice in one object")
    return line


def _check_prefix(prefix: str) -> None:
    if FOREIGN_PREFIX.fullmatch(prefix) is None:
        raise Unsupported(f"prefix: {prefix[:40]!r} is not 3 to 32 letters, digits, '_', '.' or '-'")
    if prefix.startswith(OURS) or OURS.startswith(prefix):
        raise Unsupported(f"prefix: {prefix!r} is that of our own keys, which are known by their checksum")


def _entitled(wanted: Mapping[str, str], entitlements: Mapping[str, str], org: str) -> dict[str, str]:
    for product, plan in wanted.items():
        if entitlements.get(product) != plan:
            raise Unsupported(f"plans: {org} is not entitled to {product[:80]!r} under {plan[:80]!r}")
    return dict(wanted)
