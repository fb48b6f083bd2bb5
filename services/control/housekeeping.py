"""What somebody has to clear away: bodies of results that are no longer kept, and keys that ended long ago."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from apx.admission.keys import KeyStore
from apx.catalog.model import MOST_KEPT_S
from apx.clock import Clock
from apx.errors import Unavailable
from apx.requests.ports import BlobStore

_HOUR_S, _DAY_S = 3600.0, 86_400.0
EXPIRED_KEPT_S = 30 * _DAY_S
"""How long an expired key is still shown, to whoever asks why it is refused."""
_log = structlog.get_logger(__name__)


async def clear_blobs(blobs: BlobStore) -> None:
    """Remove blobs that no result can name any more, once an hour, until cancelled."""
    await _again_and_again("blobs", _HOUR_S, lambda: blobs.expire(older_than_s=MOST_KEPT_S))


async def clear_keys(keys: KeyStore, clock: Clock) -> None:
    """Revoke keys that expired over `EXPIRED_KEPT_S` ago, once a day, until cancelled."""

    async def ended() -> int:
        before_ms = (clock.time() - EXPIRED_KEPT_S) * 1000
        over = [one.id for one in await keys.list_keys() if one.expires_ms is not None and one.expires_ms < before_ms]
        for key_id in over:
            await keys.revoke(key_id)
        return len(over)

    await _again_and_again("keys", _DAY_S, ended)


async def _again_and_again(what: str, every_s: float, clear: Callable[[], Awaitable[int]]) -> None:
    while True:
        try:
            removed = await clear()
        except Unavailable as error:
            _log.warning(f"{what}.not-cleared", detail=str(error))
        except Exception:  # noqa: BLE001 -- what one item says must not end what clears away all others
            _log.exception(f"{what}.not-cleared")
        else:
            _log.info(f"{what}.cleared", removed=removed)
        await asyncio.sleep(every_s)
