"""`./dev demo rollout`: plays a good rollout and a bad one on the platform that `./dev up` has started."""

from __future__ import annotations

import asyncio
import sys
import time

from apx import bootstrap
from apx.errors import ApxError, Unavailable
from apx.local.folder import Folder
from apx.local.platform import read_record
from apx.local.repository import commit_tree, repository
from apx.local.settings import LocalSettings
from apx.settings import Settings
from examples.demo_rollout.repository import Clone
from examples.demo_rollout.story import Story


def main() -> int:
    """Tell the story; 0 when it went as it should."""
    settings = LocalSettings.load().resolved()
    record = read_record(Folder(settings.home))
    try:
        if record is None:
            raise Unavailable(f"Nothing runs in {settings.home}: start a platform first (`./dev up --detach`).")
        commit_tree(settings.home, settings.gitops)  # where an earlier telling has left something else
        clone = Clone(repository(settings.home), settings.home / "demo" / "clone")
        return 0 if asyncio.run(_tell(Settings(home=settings.home), clone, record.edge)) else 1
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


async def _tell(settings: Settings, clone: Clone, edge: str) -> bool:
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    async with bootstrap.backends(settings) as backends:
        went_well = await Story(settings, backends, clone, edge, say).tell()
    say(f"{'As it should be' if went_well else 'That was not as it should be'}, in {time.monotonic() - began:.0f} s.")
    return went_well


if __name__ == "__main__":
    sys.exit(main())
