"""Who is calling: from the credentials of a request to the record of its key."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
import structlog

from apx.admission.keys import (
    MAX_FOREIGN_CHARACTERS,
    MAX_KEY_CHARACTERS,
    OURS,
    KeyRecord,
    KeyStore,
    find_keys,
    sha256_of,
    well_formed,
)
from apx.clock import Clock
from apx.errors import Unavailable
from apx.telemetry import metrics

_FRESH_S = 60.0
_MOST = 100_000
_RECONNECT_S = 0.5
GRACE_S = 120.0
"""How long keys that were known go on while the store is away: nobody can revoke one there, either. A router that alone
is cut off from the store hears of a revocation so much later."""
_ASK_AGAIN_S = 0.5
"""While the store is away it is asked so often, not for each request."""
LOOK_AGAIN_S = 4.0
"""How often the key of an open answer is looked at, told of a change or not."""
_log = structlog.get_logger(__name__)


def presented_key(headers: Mapping[str, str], *, bearer_is_jwt: bool) -> str | None:
    """Return the API key that a request carries, or None when there is none or there are two.

    `Authorization: Bearer KEY` or `X-API-Key: KEY`. For a product with JWTs the bearer token is the JWT and the key
    stands in `X-API-Key`. Two different keys are an attempt to be two callers at once: nobody.
    """
    header = headers.get("x-api-key")
    authorization = headers.get("authorization")
    if bearer_is_jwt or authorization is None:
        return header
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = token.strip()
    return token if header is None or header == token else None


def leaks_key(query: str) -> bool:
    """Tell whether a query holds what has the form of a key: there it ends up in other people's logs."""
    return "apx_" in query and any(well_formed(found) for found in find_keys(query))


class _Cached(msgspec.Struct, frozen=True):
    record: KeyRecord | None
    until: float


class Identity:
    """Keys that this process has seen lately.

    A change of a key reaches the cache by push; a feed that breaks empties it. An entry is used for a minute at most.
    While the store does not answer, keys that were known go on for `GRACE_S`; any other is `Unavailable`, never an
    unknown key. Look-ups of the same key at the same time are one; one
    that a change has overtaken is not kept. Unknown keys have a cache of their own: they push no known one out.

    What begins as our keys do is looked up only with the right checksum; anything else only when it begins with a
    prefix that was declared for imported keys.
    """

    def __init__(self, store: KeyStore, clock: Clock, *, most: int = _MOST) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._known: OrderedDict[str, _Cached] = OrderedDict()
        self._unknown: OrderedDict[str, _Cached] = OrderedDict()
        self._asked: dict[str, asyncio.Future[KeyRecord | None]] = {}
        self._before: dict[str, _Cached] = {}
        """What was known when the store went away."""
        self._away_until = 0.0
        self._open: dict[str, set[asyncio.Future[None]]] = {}
        """Those who wait to hear of a key's change, by its hash."""
        self._prefixes: tuple[str, ...] = ()
        self._changed = asyncio.Event()

    def recent(self, key: str) -> tuple[str, KeyRecord | None] | str:
        """Return (hash, record) when the answer is known now, else the hash to `look_up`. Does no I/O."""
        if not key.isascii() or (len(key) > MAX_KEY_CHARACTERS and not self._foreign(key)):
            return "", None
        digest = sha256_of(key)
        cached = self._cached(digest)
        if cached is not None:
            return digest, cached.record
        return digest if self._plausible(key) else (digest, None)

    async def look_up(self, digest: str) -> KeyRecord | None:
        """Ask the store for the key with this hash. Raises `Unavailable`."""
        asked = self._asked.get(digest)
        if asked is None:
            asked = asyncio.ensure_future(self._store.find(digest))
            self._asked[digest] = asked
            asked.add_done_callback(lambda answered: self._keep(digest, answered))
        return await asyncio.shield(asked)

    async def identify(self, key: str) -> KeyRecord | None:
        """Return the record of a key that is well formed, known and not expired. Raises `Unavailable`."""
        recent = self.recent(key)
        if isinstance(recent, tuple):
            record = recent[1]
            metrics.KEY_LOOKUPS.inc("hit" if record else "unknown" if self._plausible(key) else "malformed")
        else:
            metrics.KEY_LOOKUPS.inc("miss")
            record = await self._asked_or_before(recent)
        return record if record is not None and self.valid(record) else None

    async def until_ended(self, record: KeyRecord) -> None:
        """Return once a key that was good is revoked or has expired. A store that is away ends nothing."""
        while True:
            heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._open.setdefault(record.sha256, set()).add(heard)
            try:
                current = await self._current(record)
                if current is None:
                    return
                await asyncio.wait({heard}, timeout=self._look_again_in_s(current))
            finally:
                waiting = self._open[record.sha256]
                waiting.discard(heard)
                if not waiting:
                    del self._open[record.sha256]

    async def _current(self, record: KeyRecord) -> KeyRecord | None:
        """Return a key as it is now, None when it has ended; as it was, while nobody can tell."""
        cached = self._cached(record.sha256)
        try:
            current = cached.record if cached is not None else await self._asked_or_before(record.sha256)
        except Unavailable:
            current = record
        return current if current is not None and self.valid(current) else None

    def _look_again_in_s(self, record: KeyRecord) -> float:
        left_s = LOOK_AGAIN_S if record.expires_ms is None else record.expires_ms / 1000 - self._clock.time()
        return min(LOOK_AGAIN_S, max(0.01, left_s))

    def _cached(self, digest: str) -> _Cached | None:
        cached = self._known.get(digest) or self._unknown.get(digest)
        return cached if cached is not None and cached.until > self._clock.monotonic() else None

    def _foreign(self, key: str) -> bool:
        return len(key) <= MAX_FOREIGN_CHARACTERS and key.startswith(self._prefixes) and not key.startswith(OURS)

    def _plausible(self, key: str) -> bool:
        return well_formed(key) or self._foreign(key)

    async def _asked_or_before(self, digest: str) -> KeyRecord | None:
        """Ask the store; while it is away, return what was known of the key before. Raises `Unavailable`."""
        before, now = self._before.get(digest), self._clock.monotonic()
        usable = before is not None and before.until > now
        if before is not None and usable and now < self._away_until:
            return before.record
        try:
            return await self.look_up(digest)
        except Unavailable:
            self._away_until = self._clock.monotonic() + _ASK_AGAIN_S
            if before is None or not usable:
                raise
            return before.record

    def valid(self, record: KeyRecord) -> bool:
        """Tell whether a key has not expired."""
        return record.expires_ms is None or self._clock.time() * 1000 < record.expires_ms

    async def follow(self) -> None:
        """Forget keys as they change, and learn the prefixes of imported ones, until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._follow_changes())
            both.create_task(self._follow_prefixes())

    async def _follow_changes(self) -> None:
        while True:
            try:
                async for digest in self._store.changes():
                    self._forget(digest)
            except Exception as error:  # noqa: BLE001 -- whatever it was: what may have changed unheard is not known
                self._remember()
                self._forget("")
                if not isinstance(error, Unavailable):
                    _log.exception("keys.not-followed")
            await asyncio.sleep(_RECONNECT_S)

    async def _follow_prefixes(self) -> None:
        """Read the prefixes after each change, a burst of them at once: no revocation waits for it."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                self._prefixes = tuple(await self._store.prefixes())
            except Exception as error:  # noqa: BLE001 -- whatever it was: those that are known go on
                self._changed.set()
                if not isinstance(error, Unavailable):
                    _log.exception("keys.prefixes-not-read")
            await asyncio.sleep(_RECONNECT_S)

    def _keep(self, digest: str, answered: asyncio.Future[KeyRecord | None]) -> None:
        if self._asked.get(digest) is not answered:  # the key has changed since it was asked for
            answered.cancelled() or answered.exception()
            return
        del self._asked[digest]
        if answered.cancelled() or answered.exception() is not None:
            return
        record = answered.result()
        self._before.pop(digest, None)
        cache = self._unknown if record is None else self._known
        cache[digest] = _Cached(record, self._clock.monotonic() + _FRESH_S)
        cache.move_to_end(digest)
        if len(cache) > self._most:
            cache.popitem(last=False)

    def _remember(self) -> None:
        """Keep what is known aside, for as long as the store is away; nothing gets a second grace."""
        until = self._clock.monotonic() + GRACE_S
        self._before = {digest: one for digest, one in self._before.items() if one.until > self._clock.monotonic()}
        for digest, cached in self._known.items():
            self._before.setdefault(digest, _Cached(cached.record, until))

    def _forget(self, digest: str) -> None:
        """Forget what is known, and what is being asked, of one key; of all for an empty `digest`."""
        for held in (self._known, self._unknown, self._asked):
            if digest:
                self._before.pop(digest, None)
                held.pop(digest, None)
            else:
                held.clear()
        for waiting in [self._open.get(digest, set())] if digest else self._open.values():
            for heard in waiting:
                if not heard.done():
                    heard.set_result(None)
        self._changed.set()
