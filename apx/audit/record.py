"""Changes by people, written into the audit log before they happen: nothing changes unrecorded.

The entry comes first, then the change; if the change fails, a second entry says so (`…-failed`). A process that dies
between the two leaves an entry whose change may not have happened, never a change without its entry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import msgspec

from apx.admission.keys import KeyRecord, KeyStore, limits_text
from apx.admission.orgs import OrgState, OrgStore, OrgTerms, terms_text
from apx.audit.entry import Change
from apx.audit.store import AuditStore
from apx.errors import ApxError
from apx.requests.model import DeadLetter, Envelope


class By(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, and from where."""

    actor: str
    source: str = ""


class Recorder:
    """Writes what one actor does."""

    def __init__(self, store: AuditStore, by: By) -> None:
        self._store = store
        self._by = by

    @asynccontextmanager
    async def recorded(
        self,
        action: str,
        subject: str,
        *,
        org: str = "",
        product: str = "",
        before: str = "",
        after: str = "",
        why: str = "",
    ) -> AsyncIterator[None]:
        """Record a change, then let it happen. Raises `Unavailable` when it cannot be recorded: then it must not."""
        change = Change(
            action=action,
            actor=self._by.actor,
            source=self._by.source,
            subject=subject,
            org=org,
            product=product,
            before=before,
            after=after,
            why=why,
        )
        await self._store.append([change])
        try:
            yield
        except Exception as error:
            said = msgspec.structs.replace(change, action=f"{action}-failed", why=str(error) or type(error).__name__)
            with suppress(ApxError):  # the first entry stands; what went wrong is the other error
                await self._store.append([said])
            raise

    def replay(self, letter: DeadLetter, again: Envelope) -> AbstractAsyncContextManager[None]:
        """Record that a dead letter is queued again, as `replay_letters` asks for."""
        return self.recorded(
            "dead-letter-replay",
            f"dead letter {letter.id}",
            org=again.org,
            product=again.product,
            before=letter.envelope.id,
            after=again.id,
        )


class RecordedKeys(KeyStore):
    """A store of keys whose changes are recorded."""

    def __init__(self, keys: KeyStore, recorder: Recorder) -> None:
        self._keys = keys
        self._recorder = recorder

    async def find(self, sha256: str) -> KeyRecord | None:
        """Return the record of the key with this hash."""
        return await self._keys.find(sha256)

    async def named(self, key_id: str) -> KeyRecord | None:
        """Return the record of the key with this id."""
        return await self._keys.named(key_id)

    async def list_keys(self, org: str | None = None) -> list[KeyRecord]:
        """Return all keys, or an org's."""
        return await self._keys.list_keys(org)

    async def prefixes(self) -> set[str]:
        """Return the prefixes that were declared."""
        return await self._keys.prefixes()

    def changes(self) -> AsyncIterator[str]:
        """Yield as the store does."""
        return self._keys.changes()

    async def put(self, record: KeyRecord) -> None:
        """Record and store a key."""
        async with self._recorder.recorded(
            "key-create", f"key {record.id}", org=record.org, after=_given(record), why=record.note
        ):
            await self._keys.put(record)

    async def replace(self, before: KeyRecord, after: KeyRecord, beside: KeyRecord | None = None) -> bool:
        """Record and store that a key is rotated, or limited in another way."""
        was, now = (limits_text(before), limits_text(after)) if beside is None else (before.id, beside.id)
        action = "key-limit" if beside is None else "key-rotate"
        async with self._recorder.recorded(action, f"key {before.id}", org=before.org, before=was, after=now):
            return await self._keys.replace(before, after, beside)

    async def declare(self, prefix: str) -> None:
        """Record and note that keys with this prefix are imported."""
        async with self._recorder.recorded("key-prefix", f"keys that begin with {prefix}"):
            await self._keys.declare(prefix)

    async def revoke(self, key_id: str) -> KeyRecord | None:
        """Record and revoke a key; one that is not there changes nothing."""
        record = await self._keys.named(key_id)
        if record is None:
            return None
        async with self._recorder.recorded("key-revoke", f"key {key_id}", org=record.org, before=_given(record)):
            return await self._keys.revoke(key_id)


def _given(record: KeyRecord) -> str:
    plans = ", ".join(f"{product}: {plan}" for product, plan in sorted(record.plans.items()))
    return "; ".join(filter(None, (plans, limits_text(record))))


class RecordedOrgs(OrgStore):
    """A store of orgs' states whose changes are recorded."""

    def __init__(self, orgs: OrgStore, recorder: Recorder) -> None:
        self._orgs = orgs
        self._recorder = recorder

    async def find(self, org: str) -> OrgState | None:
        """Return an org's state."""
        return await self._orgs.find(org)

    async def list_orgs(self) -> list[OrgState]:
        """Return all states, by org."""
        return await self._orgs.list_orgs()

    def changes(self) -> AsyncIterator[str]:
        """Yield as the store does."""
        return self._orgs.changes()

    async def put(self, state: OrgState) -> None:
        """Record and store a state."""
        before = await self._orgs.find(state.org)
        action = "org-suspend" if state.suspended else "org-resume"
        async with self._recorder.recorded(
            action,
            f"org {state.org}",
            org=state.org,
            before="suspended" if before is not None and before.suspended else "active",
            after="suspended" if state.suspended else "active",
            why=state.why,
        ):
            await self._orgs.put(state)

    async def put_terms(self, org: str, terms: OrgTerms) -> None:
        """Record and store terms."""
        before = await self._orgs.find(org)
        async with self._recorder.recorded(
            "org-terms",
            f"org {org}",
            org=org,
            before=terms_text(before.terms if before is not None else None),
            after=terms_text(terms),
        ):
            await self._orgs.put_terms(org, terms)
