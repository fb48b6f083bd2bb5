"""Keeps Envoy's configuration as the active releases say, and as it was when they cannot be served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import structlog

from apx.errors import ApxError
from apx.release.model import Manifest
from services.edge.candidate import validate
from services.edge.files import Files
from services.edge.render import Rendered, render
from services.edge.settings import EdgeSettings

_log = structlog.get_logger(__name__)


async def follow(source: AsyncIterator[Sequence[Manifest]], settings: EdgeSettings) -> None:
    """Publish each set of active releases that `source` yields, until it ends.

    Before the first, the files are written that Envoy starts from: what was served last, or nothing but the router.
    A set that Envoy would not take leaves everything as it is.
    """
    prepare(settings)
    files = Files(settings)
    last: Rendered | None = None
    async for manifests in source:
        rendered = render(manifests, settings)
        for product, reason in sorted(rendered.refused.items()):
            _log.error("edge.product-refused", product=product, reason=reason)
        if rendered == last:
            continue
        if await _publish(files, rendered, settings):
            last = rendered
            _log.info("edge.published", products=len(manifests), refused=len(rendered.refused))


def prepare(settings: EdgeSettings) -> None:
    """Write what Envoy is started from; while nothing is known yet, without a product."""
    settings.admin_path.parent.mkdir(parents=True, exist_ok=True)
    Files(settings).start_from(render((), settings))


async def _publish(files: Files, rendered: Rendered, settings: EdgeSettings) -> bool:
    try:
        await validate(rendered, settings)
        return await files.publish(rendered)
    except (ApxError, OSError, TimeoutError) as error:
        _log.error("edge.not-published", reason=str(error))
        return False
