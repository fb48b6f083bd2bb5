"""The report as a comment of a pull request: the summary first, a table for each product, examples folded away.

Orgs, routes, reasons, headers and inputs come from clients and policies. They stand in code, where hosts look for no
mentions, with every character that means something to Markdown, HTML or a link finder written as an entity; documents
stand in fences that are longer than any run of backticks in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from apx.cli import impact_words as words
from apx.cli.impact import Impact, ProductImpact
from apx.cli.impact_text import visible
from apx.policy.replay import Example, Kind, Replayed

MOST_BYTES = 60_000
"""Hosts refuse comments of more than 65,536 characters, and a workflow may put something before it."""
_MOST_GROUPS = 10
_MOST_LINES = 50
_LONGEST_INPUT = 2_000
_LONGEST_TEXT = 300
_MOST_EXAMPLES_CHARACTERS = 15_000
_SPECIAL = re.compile(r"[^A-Za-z0-9 ,;?%()→…'-]")
_CLOSING = "\n\nThe report is cut here: `apx policy diff` in a terminal or with `--json` has the rest.\n"


def markdown(impact: Impact) -> str:
    """Return the comment, of at most `MOST_BYTES` in UTF-8."""
    return cut(_parts(impact), _CLOSING)


def cut(parts: Iterable[str], closing: str) -> str:
    """Return the parts that fit into `MOST_BYTES` in UTF-8, whole ones only; `closing` where one did not."""
    found = ""
    left = MOST_BYTES - len(closing.encode())
    for part in parts:
        left -= len(part.encode())
        if left < 0:
            return found + closing
        found += part
    return found


def escaped(text: str) -> str:
    """Return text that Markdown and HTML show as it is, on one line and cut to a bearable length."""
    shown = visible(text)
    shown = shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "…"
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shown)


def code(text: str) -> str:
    """Return what clients or policies wrote, as code."""
    return f"<code>{escaped(text)}</code>"


def _parts(impact: Impact) -> Iterator[str]:
    yield f"**{escaped(words.summary(impact))}**\n\n{escaped(impact.before)} → {escaped(impact.after)}\n"
    for one in impact.products:
        yield f"\n### {escaped(one.product)} {words.status(one)}\n"
        yield from _lines(one)
        if one.replayed is not None:
            yield from _replayed(one.replayed)
        elif one.status != "new":
            yield f"\n_{words.UNKNOWN}_\n"
        for note in words.notes(one):
            yield f"\n> {escaped(note)}\n"
    if impact.unchanged:
        yield f"\nUnchanged: {escaped(', '.join(impact.unchanged))}\n"
    if said := words.passed_over(impact):
        yield f"\n> {escaped(said)}\n"


def _lines(one: ProductImpact) -> Iterator[str]:
    if one.lines:
        yield "\n"
    for line in one.lines[:_MOST_LINES]:
        yield f"- {words.DANGERS[line.danger]}: {code(line.text)}\n"
    if len(one.lines) > _MOST_LINES:
        yield f"- and {len(one.lines) - _MOST_LINES} more differences\n"


def _replayed(replayed: Replayed) -> Iterator[str]:
    yield "\n| recorded inputs | " + f"{replayed.inputs:,} |\n|---|---|\n"
    rows = [("compared", replayed.compared), ("unchanged", replayed.unchanged)]
    yield "".join(f"| {name} | {number:,} |\n" for name, number in rows)
    yield "".join(f"| {escaped(words.KINDS[kind])} | {number:,} |\n" for kind, number in replayed.changes.items())
    yield from _groups("org", replayed.by_org)
    yield from _groups("route", replayed.by_route)
    if replayed.examples:
        yield _examples(replayed.examples)


def _examples(examples: Sequence[Example]) -> str:
    """Return a folded section, whole: what opens it and what closes it are never apart."""
    shown = ""
    for example in examples:
        one = _example(example)
        if len(shown) + len(one) <= _MOST_EXAMPLES_CHARACTERS:
            shown += one
    return f"\n<details><summary>Examples, masked</summary>\n{shown}\n</details>\n"


def _groups(what: str, groups: Mapping[str, Mapping[Kind, int]]) -> Iterator[str]:
    if not groups:
        return
    yield f"\n| {what} | differs |\n|---|---|\n"
    for name, kinds in list(groups.items())[:_MOST_GROUPS]:
        yield f"| {code(name)} | {escaped(words.changes(kinds))} |\n"
    if len(groups) > _MOST_GROUPS:
        yield f"| and {len(groups) - _MOST_GROUPS} more | |\n"


def _example(example: Example) -> str:
    sample = example.sample
    said = words.obligations(example.before, example.after)
    where = code(f"{sample.org} {sample.method} {sample.route}")
    answers = f"{code(words.outcome(example.before))} → {code(words.outcome(example.after))}"
    more = f", {code(said)}" if said else ""
    return f"\n{escaped(words.KINDS[example.kind])}: {where}: {answers}{more}\n{_fenced(bytes(sample.input))}"


def _fenced(document: bytes) -> str:
    """Return JSON in a fence that is longer than any run of backticks in it."""
    text = msgspec.json.format(document, indent=2).decode(errors="replace")
    text = "\n".join(map(visible, text.split("\n")))
    text = text if len(text) <= _LONGEST_INPUT else text[:_LONGEST_INPUT] + "…"
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}json\n{text}\n{fence}\n"
