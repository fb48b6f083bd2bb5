"""What somebody has to clear away: bodies of results that are no longer kept."""

from __future__ import annotations

import asyncio

import structlog

from apx.catalog.model import MOST_KEPT_S
from apx.errors import Unavailable
from apx.requests.ports import BlobStore

_EVERY_S = 3600.0
_log = structlog.get_logger(__name__)


async def clear_blobs(blobs: BlobStore) -> None:
    """Remove blobs that no result can name any more, once an hour, until cancelled."""
    while True:
        try:
            removed = await blobs.expire(older_than_s=MOST_KEPT_S)
        except Unavailable as error:
            _log.warning("blobs.not-cleared", detail=str(error))
        else:
            _log.info("blobs.cleared", removed=removed)
        await asyncio.sleep(_EVERY_S)
