"""The report for a terminal: plain lines, readable without colour. What clients wrote is made visible characters."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from apx.cli import impact_words as words
from apx.cli.impact import Impact, ProductImpact
from apx.policy.replay import Example, Kind, Replayed

_MOST_GROUPS = 10
_MOST_LINES = 100
_LONGEST_INPUT = 300


def write(impact: Impact) -> None:
    """Print the report."""
    text = "\n".join(lines(impact)) + "\n"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def lines(impact: Impact) -> Iterator[str]:
    """Yield the lines of the report."""
    yield words.summary(impact)
    for one in impact.products:
        yield ""
        yield from map(visible, _product(one))
    if impact.unchanged:
        yield ""
        yield f"unchanged: {', '.join(impact.unchanged)}"
    if said := words.passed_over(impact):
        yield f"note: {said}"


def visible(text: str) -> str:
    """Return one line in which nothing moves the cursor or turns the writing round."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _product(one: ProductImpact) -> Iterator[str]:
    yield f"{one.product} {words.status(one)}"
    for line in one.lines[:_MOST_LINES]:
        yield f"  {words.DANGERS[line.danger]:8} {line.text}"
    if len(one.lines) > _MOST_LINES:
        yield f"  and {len(one.lines) - _MOST_LINES} more differences"
    if one.replayed is not None:
        yield from _replayed(one.replayed)
    elif one.status != "new":
        yield f"  {words.UNKNOWN}"
    for note in words.notes(one):
        yield f"  note: {note}"


def _replayed(replayed: Replayed) -> Iterator[str]:
    yield (
        f"  {words.count(replayed.inputs, 'recorded input')}, {replayed.compared:,} compared, "
        f"{replayed.unchanged:,} unchanged; {words.changes(replayed.changes)}"
    )
    yield from _groups("org", replayed.by_org)
    yield from _groups("route", replayed.by_route)
    for example in replayed.examples:
        yield from _example(example)


def _groups(what: str, groups: Mapping[str, Mapping[Kind, int]]) -> Iterator[str]:
    for name, kinds in list(groups.items())[:_MOST_GROUPS]:
        yield f"    {what} {name}: {words.changes(kinds)}"
    if len(groups) > _MOST_GROUPS:
        yield f"    and {len(groups) - _MOST_GROUPS} more {what}s"


def _example(example: Example) -> Iterator[str]:
    sample = example.sample
    yield (
        f"    e.g. {words.KINDS[example.kind]}: {sample.org} {sample.method} {sample.route}: "
        f"{words.outcome(example.before)} → {words.outcome(example.after)}"
    )
    if said := words.obligations(example.before, example.after):
        yield f"         {said}"
    text = bytes(sample.input).decode(errors="replace")
    yield f"         {text if len(text) <= _LONGEST_INPUT else text[:_LONGEST_INPUT] + '…'}"
