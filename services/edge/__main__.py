"""The process `edge-config`: renders Envoy's files as releases become active. Envoy itself runs beside it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence

from apx import bootstrap
from apx.errors import ApxError
from apx.release.model import Manifest
from apx.rollout.arms import Arms
from apx.rollout.counts import Tally
from apx.telemetry import logs
from apx.telemetry.endpoint import health
from services.edge.answers import Answers
from services.edge.counting import Counting
from services.edge.follow import follow
from services.edge.settings import EdgeSettings


def main() -> int:
    """Run until stopped; 1 with one readable message when it cannot start."""
    try:
        settings = EdgeSettings.load()
        logs.configure("edge-config", settings.log_level)
        asyncio.run(_run(settings))
    except ApxError as error:
        sys.stderr.write(f"edge-config: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        logs.flush()
    return 0


async def _run(settings: EdgeSettings) -> None:
    """Keep Envoy's configuration and count what backends answered, until SIGTERM or a fault."""
    tally = Tally()
    answers = Answers(tally)
    async with bootstrap.backends(settings) as outside:
        following = asyncio.create_task(follow(_known(bootstrap.follow_releases(settings), answers), settings))
        work = [
            following,
            asyncio.create_task(Counting(settings, answers, bootstrap.CLOCK).run()),
            asyncio.create_task(bootstrap.count_writer(outside, "edge", tally).run()),
        ]
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
        try:
            with health(
                settings.edge_config_port or None, settings.published_path.exists, host=settings.edge_config_host
            ):
                ended, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                if not task.cancelled():
                    task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def _known(
    source: AsyncIterator[Sequence[Arms[Manifest]]], answers: Answers
) -> AsyncIterator[Sequence[Arms[Manifest]]]:
    async for serving in source:
        answers.serve(serving)
        yield serving


if __name__ == "__main__":
    sys.exit(main())
