"""`apx status --watch`: what changes in rollouts while they move, and how they ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from apx.bootstrap import Backends
from apx.cli import progress_text
from apx.cli.gate import End, Followed, chosen, ended, exit_code, followed, summary
from apx.cli.impact_text import visible
from apx.cli.output import json_line
from apx.cli.progress import Progress, look, shown
from apx.errors import Unavailable
from apx.rollout.active import Snapshot

AGAIN_S = 1.0
"""How soon a store that is away is asked again."""
Show = Callable[[Sequence[Progress]], None]


async def watch(
    backends: Backends,
    products: Sequence[str],
    show: Show,
    *,
    timeout_s: float | None = None,
    commit: str | None = None,
) -> int:
    """Show rollouts until interrupted; with `timeout_s` until they have ended, at most so long. Return an exit code.

    0 when all were promoted, 2 when one was not, 1 when time ran out; the last line on stderr says which. A store that
    goes away meanwhile is waited for. Raises `NotFound`, and `Unavailable` when it is away at the start.
    """
    watching = _Watching(backends, products, show, followed(await backends.rollouts.read(), products, commit))
    try:
        async with asyncio.timeout(timeout_s) as limit:
            code = await watching.until_ended(gate=timeout_s is not None)
    except TimeoutError:
        if not limit.expired():
            raise
        _tell(f"after {timeout_s:g} s: {watching.waited_for()}")
        return 1
    _tell(summary(watching.ends))
    return code


@contextmanager
def display(*, as_json: bool) -> Iterator[Show]:
    """Show on a terminal what is, in place; elsewhere a line for each change, as JSON if asked."""
    console = Console()
    if as_json or not console.is_terminal:
        yield _Changes(as_json=as_json).show
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda looked: live.update(progress_text.blocks(looked) if looked else _NOTHING, refresh=True)


_NOTHING = "no rollout is under way"


class _Changes:
    """Prints a product when what it does has changed; not for each request that was counted."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._told: dict[str, object] = {}

    def show(self, looked: Sequence[Progress]) -> None:
        for one in looked:
            if self._told.get(one.product) != (state := _state(one)):
                self._told[one.product] = state
                print(json_line(shown(one)) if self._as_json else progress_text.changed_line(one), flush=True)


class _Watching:
    """What is followed, and how far it has come."""

    def __init__(self, backends: Backends, products: Sequence[str], show: Show, following: Sequence[Followed]) -> None:
        self.ends: dict[Followed, End | None] = dict.fromkeys(following)
        self._backends = backends
        self._products = products
        self._show = show
        self._seen: set[str] = {one.product for one in following} | set(products)
        self._last: Sequence[Progress] = ()

    async def until_ended(self, *, gate: bool) -> int:
        while True:
            try:
                async for snapshot in self._backends.rollouts.watch():
                    await self._look(snapshot)
                    if gate and (code := exit_code(self.ends)) is not None:
                        return code
            except Unavailable as error:
                _tell(f"{error}; the rollouts go on, asking again")
            await asyncio.sleep(AGAIN_S)

    def waited_for(self) -> str:
        """Say what was waited for at the last look."""
        return "; ".join(progress_text.changed_line(one) for one in self._last if _open(one)) or summary(self.ends)

    async def _look(self, snapshot: Snapshot) -> None:
        active = snapshot.products
        self._seen |= {one.product for one in active.values() if one.candidate or one.waiting}
        wanted = [name for name in (self._products or sorted(self._seen)) if name in active]
        self._last = await look(self._backends, chosen(snapshot, wanted) if wanted else ())
        self._show(self._last)
        for one in self.ends:
            self.ends[one] = await ended(self._backends.rollouts, one, active.get(one.product))


def _state(one: Progress) -> object:
    rollout, verdict = one.rollout, one.verdict
    if rollout is None:
        return one.active.stable
    waiting = one.active.waiting.id if one.active.waiting is not None else None
    revert = rollout.revert.state if rollout.revert is not None else None
    return rollout.id, rollout.state, rollout.step, verdict.outcome if verdict is not None else None, waiting, revert


def _open(one: Progress) -> bool:
    return one.active.candidate is not None or one.active.waiting is not None


def _tell(line: str) -> None:
    print(visible(line), file=sys.stderr, flush=True)
