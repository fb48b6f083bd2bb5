"""A rollout in lines, readable without colour: side by side on a terminal, one after the other elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from apx.cli.impact_text import visible
from apx.cli.progress import Progress, acting, hold_left_s, hold_s, p90_s, total, waits_for, waves
from apx.release.digest import short
from apx.rollout.actions import shown_state
from apx.rollout.counts import Counts
from apx.rollout.model import Rollout

_BAR = 20
_COLOURS = {"promoted": "green", "aborted": "red", "superseded": "yellow", "paused": "yellow"}


def lines(progress: Progress) -> list[str]:
    """Return a product's block: its first line says where it is."""
    return list(map(visible, _lines(progress)))


def headline(progress: Progress) -> str:
    """Return a product's state in a few words: `orders canary 1/3, 5 % of the orgs`."""
    rollout = progress.rollout
    if rollout is None:
        return f"{progress.product} no rollout"
    weight = f", {rollout.weight_percent:g} % of the orgs" if rollout.weight_percent else ""
    return f"{progress.product} {shown_state(rollout)}{weight}"


def changed_line(progress: Progress) -> str:
    """Return what has changed in one line, for those who read a log."""
    rollout, verdict = progress.rollout, progress.verdict
    said = [headline(progress)]
    if rollout is not None and rollout.reason:
        said.append(rollout.reason)
    if rollout is not None and rollout.under_way and verdict is not None:
        said.append(f"{verdict.outcome}: {verdict.reason}")
    if waited := waits_for(progress):
        said.append(f"waits for {waited}")
    return visible(" | ".join(said))


def blocks(looked: Sequence[Progress]) -> RenderableType:
    """Return the blocks as a terminal shows them, those of one wave together."""
    return Group(*(_wave(wave) for wave in waves(looked)))


def text(looked: Sequence[Progress]) -> str:
    """Return the blocks one after the other."""
    found = []
    for wave in waves(looked):
        if len(wave) > 1:
            found.append(f"wave {_wave_of(wave)}: {len(wave)} rollouts of one commit")
        found += ["\n".join(lines(one)) for one in wave]
    return "\n\n".join(found)


def bar(percent: float) -> str:
    """Return a bar of a weight, in characters that stdout can write."""
    full = round(percent / 100 * _BAR)
    try:
        "█░".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return f"[{'#' * full}{'-' * (_BAR - full)}]"
    return "█" * full + "░" * (_BAR - full)


def _wave(wave: Sequence[Progress]) -> RenderableType:
    panels = Columns([_panel(one) for one in wave], equal=True)
    return Group(Text(f"wave {_wave_of(wave)}", style="bold"), panels) if len(wave) > 1 else panels


def _wave_of(wave: Sequence[Progress]) -> str:
    rollout = wave[0].rollout
    return "" if rollout is None else f"{rollout.wave} ({rollout.commit[:12]})" if rollout.commit else rollout.wave


def _panel(progress: Progress) -> Panel:
    first, *rest = lines(progress)
    state = progress.rollout.state if progress.rollout is not None else ""
    return Panel(Text("\n".join(rest)), title=Text(first), title_align="left", border_style=_COLOURS.get(state, "blue"))


def _lines(progress: Progress) -> Iterator[str]:
    rollout = progress.rollout
    yield headline(progress)
    if rollout is None:
        yield _line("release", short(progress.active.stable))
        return
    yield _line("weight", f"{bar(rollout.weight_percent)} {rollout.weight_percent:g} %")
    yield _line("releases", f"stable {short(rollout.stable)}, candidate {short(rollout.candidate)}")
    yield _line("started", f"{rollout.id} by {rollout.by}{f': {rollout.why}' if rollout.why else ''}")
    yield from _arms(progress, rollout)
    yield from _said(progress, rollout)


def _said(progress: Progress, rollout: Rollout) -> Iterator[str]:
    if rollout.reason:
        yield _line("reason", rollout.reason)
    if progress.verdict is not None:
        yield _line("verdict", f"{progress.verdict.outcome}: {progress.verdict.reason}")
    if rollout.under_way and (whole := hold_s(rollout)):
        yield _line("hold", f"{hold_left_s(rollout, progress.now_ms):.0f} s left of {whole:g} s")
    if waited := waits_for(progress):
        yield _line("waits for", waited)
    if rollout.revert is not None:
        yield _line(
            "revert", " ".join(filter(None, (rollout.revert.state, rollout.revert.where, rollout.revert.detail)))
        )
    if progress.active.waiting is not None:
        yield _line("next", progress.active.waiting.id)


def _arms(progress: Progress, rollout: Rollout) -> Iterator[str]:
    if progress.assessment is None:
        return
    stable, candidate = total(progress.assessment.stable), total(progress.assessment.candidate)
    shadow = acting(rollout) in ("pending", "shadow")
    yield _line("", f"{'stable':>12}{'candidate':>12}")
    yield _line("requests", f"{stable.requests:>12}{'-' if shadow else candidate.requests:>12}")
    if shadow:
        yield _line("repeated", f"{'-':>12}{candidate.requests:>12}")
    yield _line("denied", f"{stable.denied:>12}{'-' if shadow else candidate.denied:>12}")
    yield _line("newly denied", f"{'-':>12}{candidate.newly_denied:>12}")
    yield _line("errors", f"{stable.errors:>12}{'-' if shadow else candidate.errors:>12}")
    yield _line("p90", f"{_p90(stable):>12}{_p90(candidate):>12}")


def _p90(counts: Counts) -> str:
    found = p90_s(counts.latency)
    return "-" if found is None else f"{found * 1000:.0f} ms"


def _line(name: str, said: str) -> str:
    return f"  {name:<12} {said}"
