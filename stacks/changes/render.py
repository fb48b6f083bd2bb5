"""A report as a comment of a pull request, and for a terminal: dangers first, then a table for each stack.

Names and values come from whoever wrote the change: in Markdown they stand in code with all that means something to
Markdown, HTML or a link finder as entities, in a terminal nothing of them moves the cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apx.cli.impact_markdown import code, cut, escaped
from apx.cli.impact_text import visible
from stacks.changes.model import Attribute, Change, Danger, Part, Presence, Replacement, Report, Severity

MARKERS = {Severity.HIGH: "🔴 **DANGER**", Severity.MEDIUM: "🟡 look"}
WORDS = {Severity.HIGH: "DANGER", Severity.MEDIUM: "look"}
_MOST_ATTRIBUTES = 12
_CLOSING = "\n\nThe report is cut here: `./dev diff --offline` in a terminal or with `--json` has the rest.\n"
_PRESENCE = {
    Presence.ADDED: "is new: all of it would be created",
    Presence.REMOVED: "is gone: what stands in its project stays there, and nobody can deploy it any more",
}
_FORCES = {Replacement.YES: "forces replacement", Replacement.MAY: "may force replacement", Replacement.NO: ""}


def markdown(report: Report) -> str:
    """Return the comment, cut to what hosts take."""
    return cut(_parts(report), _CLOSING)


def text(report: Report) -> str:
    """Return the report for a terminal: plain lines, readable without colour."""
    return "\n".join(visible(line) for line in _lines(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    yield f"**{escaped(_summary(report))}**\n\n{escaped(report.base)} → {escaped(report.head)}\n"
    for one in report.environments:
        if one.presence is not Presence.BOTH:
            yield f"\n- environment {code(one.name)} {_PRESENCE[one.presence]}\n"
    if dangers := _dangers(report):
        yield "\n### Dangers\n\n| | rule | where | why |\n|---|---|---|---|\n"
        for danger, where, environments in dangers:
            what = f"{code(where)} ({escaped(', '.join(environments))})"
            yield f"| {MARKERS[danger.severity]} | {escaped(danger.rule)} | {what} | {escaped(danger.says)} |\n"
    for stack, rows in _by_stack(report).items():
        yield f"\n### {escaped(stack)}\n\n| would be | what | in | attributes |\n|---|---|---|---|\n"
        for change, environments in rows:
            yield _row(change, environments)


def _row(change: Change, environments: Sequence[str]) -> str:
    worst = f"{MARKERS[change.dangers[0].severity]} " if change.dangers else ""
    cells = [_markdown_attribute(one) for one in change.attributes[:_MOST_ATTRIBUTES]]
    if change.moved_from:
        cells.insert(0, f"moved from {code(change.moved_from)}: Terraform would destroy and create")
    if len(change.attributes) > _MOST_ATTRIBUTES:
        cells.append(f"and {len(change.attributes) - _MOST_ATTRIBUTES} more")
    return (
        f"| {worst}{change.kind.value} | {code(_what(change))} | {escaped(', '.join(environments))} |"
        f" {'<br>'.join(cells)} |\n"
    )


def _markdown_attribute(one: Attribute) -> str:
    says = f"{code(one.path)}: "
    says += escaped(one.because) if one.because else f"{_value(one.before)} → {_value(one.after)}"
    return f"{says} **({_FORCES[one.replacement]})**" if one.replacement is not Replacement.NO else says


def _value(value: str | None) -> str:
    return "" if value is None else code(value)


def _lines(report: Report) -> Iterator[str]:
    yield _summary(report)
    for one in report.environments:
        if one.presence is not Presence.BOTH:
            yield f"environment {one.name} {_PRESENCE[one.presence]}"
    if dangers := _dangers(report):
        yield ""
    for danger, where, environments in dangers:
        yield f"{WORDS[danger.severity]:6} {danger.rule}  {where} ({', '.join(environments)})"
        yield f"       {danger.says}"
    for stack, rows in _by_stack(report).items():
        yield ""
        yield stack
        for change, environments in rows:
            yield f"  {change.kind.value:9} {_what(change)} ({', '.join(environments)})"
            if change.moved_from:
                yield f"            moved from {change.moved_from}: Terraform would destroy and create"
            yield from (f"            {_text_attribute(one)}" for one in change.attributes)


def _text_attribute(one: Attribute) -> str:
    forces = f"  ({_FORCES[one.replacement]})" if one.replacement is not Replacement.NO else ""
    if one.because:
        return f"{one.path}: {one.because}{forces}"
    before, after = ("(nothing)" if value is None else value for value in (one.before, one.after))
    return f"{one.path}: {before} -> {after}{forces}"


def _what(change: Change) -> str:
    prefix = "" if change.part is Part.RESOURCE else f"{change.part.value} "
    return f"{prefix}{change.type}.{change.name}" if change.type else f"{prefix}{change.name}"


def _summary(report: Report) -> str:
    if not report.differs:
        return f"The stacks do not differ in {', '.join(one.name for one in report.environments) or 'any environment'}."
    differ = [one.name for one in report.environments if one.differs]
    number = sum(len(rows) for rows in _by_stack(report).values())
    high = sum(danger.severity is Severity.HIGH for danger, _, _ in _dangers(report))
    return (
        f"The stacks of {', '.join(differ)} differ: {_count(number, 'change')}, "
        f"{_count(high, 'danger') if high else 'no danger that is known'}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _dangers(report: Report) -> list[tuple[Danger, str, list[str]]]:
    """Return each danger once, with where it is and in which environments it is the same; the high ones first."""
    found: dict[tuple[Danger, str], list[str]] = {}
    for environment, change, danger in report.dangers():
        found.setdefault((danger, f"{change.stack}: {_what(change)}"), []).append(environment.name)
    return [(danger, where, environments) for (danger, where), environments in found.items()]


def _by_stack(report: Report) -> dict[str, list[tuple[Change, list[str]]]]:
    """Return each change once, with the environments in which it is the same, by stack; the dangerous ones first."""
    found: dict[str, dict[Change, list[str]]] = {}
    for one in report.environments:
        for change in one.changes:
            found.setdefault(change.stack, {}).setdefault(change, []).append(one.name)
    return {stack: sorted(rows.items(), key=_worst_first) for stack, rows in sorted(found.items())}


def _worst_first(row: tuple[Change, list[str]]) -> tuple[int, int]:
    severities = [danger.severity for danger in row[0].dangers]
    worst = 0 if Severity.HIGH in severities else 1 if severities else 2
    return worst, list(type(row[0].kind)).index(row[0].kind)
