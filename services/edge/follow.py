"""Keeps Envoy's configuration as the active releases say, and as it was when they cannot be served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

import structlog

from apx.errors import ApxError
from apx.release.model import Manifest
from apx.rollout.arms import Arms
from services.edge.addresses import Addresses, LookUp, judged, names_to_judge, system_look_up
from services.edge.candidate import validate
from services.edge.files import Files
from services.edge.pairs import manifests_of
from services.edge.render import Rendered, render
from services.edge.settings import EdgeSettings

_log = structlog.get_logger(__name__)
_LOOK_UP_S = 30.0


async def follow(
    source: AsyncIterator[Sequence[Arms[Manifest]]], settings: EdgeSettings, look_up: LookUp = system_look_up
) -> None:
    """Publish each set of active releases that `source` yields, until it ends.

    Before the first, the files are written that Envoy starts from: what was served last, or nothing but the router.
    A set that Envoy would not take leaves everything as it is. Between the sets, names are looked up again.
    """
    prepare(settings)
    publisher = _Publisher(settings, look_up)
    coming = asyncio.ensure_future(anext(source, None))
    try:
        while True:
            await asyncio.wait({coming}, timeout=_LOOK_UP_S)
            if coming.done():
                serving = coming.result()
                if serving is None:
                    return
                publisher.serving = serving
                coming = asyncio.ensure_future(anext(source, None))
            await publisher.publish()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


def prepare(settings: EdgeSettings) -> None:
    """Write what Envoy is started from; while nothing is known yet, without a product."""
    settings.admin_path.parent.mkdir(parents=True, exist_ok=True)
    Files(settings).start_from(render((), settings))


class _Publisher:
    """What is published now, and how to publish what comes next."""

    def __init__(self, settings: EdgeSettings, look_up: LookUp) -> None:
        self.serving: Sequence[Arms[Manifest]] | None = None
        self._settings = settings
        self._look_up = look_up
        self._files = Files(settings)
        self._addresses: Addresses = {}
        self._last: Rendered | None = None
        self._refused: dict[str, str] = {}

    async def publish(self) -> None:
        if self.serving is None:
            return
        names = names_to_judge(manifests_of(self.serving), self._settings)
        self._addresses = await judged(names, self._addresses, self._look_up)
        rendered = render(self.serving, self._settings, self._addresses)
        if rendered == self._last:
            await self._attempt(self._files.tidy(rendered))
            return
        self._tell(rendered.refused)
        if await self._attempt(self._swap(rendered)):
            self._last = rendered
            self._files.note_published(len(self.serving))
            _log.info("edge.published", products=len(self.serving), refused=len(rendered.refused))

    async def _swap(self, rendered: Rendered) -> bool:
        await validate(rendered, self._settings)
        return await self._files.publish(rendered)

    async def _attempt(self, work: Awaitable[bool]) -> bool:
        try:
            return await work
        except (ApxError, OSError, TimeoutError) as error:
            _log.error("edge.not-published", reason=str(error))
            return False

    def _tell(self, refused: dict[str, str]) -> None:
        for product, reason in sorted(refused.items()):
            if self._refused.get(product) != reason:
                _log.error("edge.product-refused", product=product, reason=reason)
        self._refused = refused
