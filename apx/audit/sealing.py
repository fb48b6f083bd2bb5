"""Checkpoints made beside the work: what was appended is verified from the last one on, then countersigned."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from apx.audit.checkpoint import Checkpoint, Seals
from apx.audit.entry import Head
from apx.audit.store import AuditStore
from apx.audit.verify import verify_since
from apx.errors import ApxError, Conflict

EVERY_ENTRIES, EVERY_S = 100, 300.0
_LOOK_EVERY_S = 10.0
_log = structlog.get_logger(__name__)


class Sealer:
    """Seals the log every `EVERY_ENTRIES` entries, and what is younger every `EVERY_S`."""

    def __init__(self, store: AuditStore, seals: Seals) -> None:
        self._store = store
        self._seals = seals
        self._made: Checkpoint | None = None

    async def run(self) -> None:
        """Seal until cancelled; a log that is not sound is never sealed, and said to be so again and again."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                behind = (await self._store.head()).number - (self._made.number if self._made is not None else 0)
                if behind and (behind >= EVERY_ENTRIES or loop.time() >= due):
                    made = await self.seal()
                    # Logs leave the machine: a copy that whoever can write the store cannot take back.
                    _log.info("audit.sealed", **msgspec.to_builtins(made))
                    due = loop.time() + EVERY_S
            except Conflict as error:  # somebody has to look at the log: errors wake one, warnings do not
                _log.error("audit.not-sealed", detail=str(error))
            except ApxError as error:
                _log.warning("audit.not-sealed", detail=str(error))
            except Exception:  # noqa: BLE001 -- the process does more than this
                _log.exception("audit.not-sealed")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def seal(self, *, trusting: bool = False) -> Checkpoint:
        """Verify what came since the last checkpoint, and countersign the head.

        Raises `Conflict` for a log that is not sound, and for a long one without any genuine checkpoint, whose own may
        have been taken away: only a person, `trusting` what is there, lets it begin anew.
        """
        genuine = [one for one in await self._store.checkpoints() if self._seals.genuine(one)]
        if self._made is not None:  # also when somebody has taken it away from beside the log
            genuine.append(self._made)
        last = max(genuine, key=lambda one: one.number, default=None)
        since = Head(number=last.number, hash=last.hash, at_ms=last.at_ms) if last is not None else Head()
        report = await verify_since(self._store, since)
        accepted = trusting or last is not None
        findings = [one for one in report.findings if one.kind != "unsealed" or not accepted]
        if findings:
            first = findings[0]
            raise Conflict(f"the audit log is not sound at {first.number} ({first.kind}): `apx audit verify` says more")
        if last is not None and not report.entries:
            return last
        number = since.number + report.entries
        made = self._seals.seal(Head(number=number, hash=report.head, at_ms=report.at_ms))
        await self._store.keep(made)
        self._made = made
        return made
