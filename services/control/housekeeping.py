"""What somebody has to clear away: bodies of results that are no longer kept, and keys that ended long ago."""

from __future__ import annotations

import structlog

from apx.admission.keys import KeyStore
from apx.catalog.model import DAY_S, MOST_KEPT_S
from apx.clock import Clock
from apx.requests.ports import BlobStore
from apx.telemetry.repeated import again_and_again

_HOUR_S = 3600.0
EXPIRED_KEPT_S = 30 * DAY_S
"""How long an expired key is still shown, to whoever asks why it is refused."""
_log = structlog.get_logger(__name__)


async def clear_blobs(blobs: BlobStore) -> None:
    """Remove blobs that no result can name any more, once an hour, until cancelled."""

    async def once() -> None:
        _log.info("blobs.cleared", removed=await blobs.expire(older_than_s=MOST_KEPT_S))

    await again_and_again(once, every_s=_HOUR_S, failed="blobs.not-cleared")


async def clear_keys(keys: KeyStore, clock: Clock) -> None:
    """Revoke keys that expired over `EXPIRED_KEPT_S` ago, once a day, until cancelled."""

    async def once() -> None:
        before_ms = (clock.time() - EXPIRED_KEPT_S) * 1000
        over = [one.id for one in await keys.list_keys() if one.expires_ms is not None and one.expires_ms < before_ms]
        for key_id in over:
            await keys.revoke(key_id)
        _log.info("keys.cleared", removed=len(over))

    await again_and_again(once, every_s=DAY_S, failed="keys.not-cleared")
