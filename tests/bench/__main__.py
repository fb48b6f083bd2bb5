"""`python -m tests.bench [--json] [--quick] [ROW …]`: APX beside its peers, measured in one run on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Protocol

from apx.local.signals import stop_signals_interrupt
from tests.bench import (
    abort,
    accept,
    build,
    bus,
    decision,
    growth,
    hierarchy,
    judge,
    keys,
    latency,
    limits,
    overload,
    replay,
    split,
    startup,
    synth,
    worker,
)
from tests.bench.bench import Bench
from tests.bench.load import generator
from tests.bench.machine import describe
from tests.bench.report import as_json, print_table
from tests.bench.row import Row

INTERRUPTED = 130


class Group(Protocol):
    """A module that measures some rows."""

    @property
    def NAMES(self) -> tuple[str, ...]:  # noqa: N802 -- a constant of the module
        """Return what its rows are called."""
        ...

    def rows(self, bench: Bench, /) -> Iterator[Row]:
        """Yield the rows in the order of their names."""
        ...


GROUPS: dict[str, Group] = {
    "decision": decision,
    "judge": judge,
    "split": split,
    "abort": abort,
    "accept": accept,
    "growth": growth,
    "latency": latency,
    "worker": worker,
    "build": build,
    "bus": bus,
    "startup": startup,
    "replay": replay,
    "synth": synth,
    "limits": limits,
    "hierarchy": hierarchy,
    "keys": keys,
    "overload": overload,
}
TOOLS = frozenset({"APX_OPA", "APX_ENVOY", "APX_VALKEY_SERVER"})
"""Which binaries to use: all that may come from the settings of whoever runs this."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0, 1 when a row could not be measured, or 130 when it was stopped.

    A goal that is missed is a figure, not a failure.
    """
    parser = command_line()
    asked = parser.parse_args(arguments)
    groups = groups_of(asked.rows, parser)
    for name in [name for name in os.environ if name.startswith("APX_") and name not in TOOLS]:
        del os.environ[name]
    machine = describe(generator())
    found: list[Row] = []
    try:
        with stop_signals_interrupt():  # so that a run that is stopped leaves nothing either
            for name in groups:
                found += measured(name, quick=asked.quick)
    except KeyboardInterrupt:
        return INTERRUPTED
    if asked.json:
        sys.stdout.write(as_json(machine, found))
    else:
        print_table(machine, found)
    return 1 if any(row.error for row in found) else 0


def measured(name: str, *, quick: bool) -> list[Row]:
    """Return a group's rows; where it fails, the rest of them say why."""
    begun = time.monotonic()
    found: list[Row] = []

    def say(text: str) -> None:
        sys.stderr.write(f"[{name} {time.monotonic() - begun:5.1f} s] {text}\n")

    try:
        with Bench(quick=quick, say=say) as bench:
            for row in GROUPS[name].rows(bench):
                found.append(row)
                say(f"{row.name}: {row.error or f'{row.value:.4g} {row.unit}'}")
    except Exception as error:  # noqa: BLE001 -- the other rows are still worth having
        say(traceback.format_exc())
        why = f"{type(error).__name__}: {error}"
        missing = [name for name in GROUPS[name].NAMES if name not in {row.name for row in found}]
        found += [Row(name=name, error=why) for name in missing]
    return found


def groups_of(wanted: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Return the groups that measure the wanted rows; all when none is named."""
    known = {row: group for group, module in GROUPS.items() for row in (group, *module.NAMES)}
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"no row {', '.join(map(repr, unknown))}; there are: {', '.join(known)}")
    return list(dict.fromkeys(known[name] for name in wanted)) or list(GROUPS)


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(GROUPS)}; by default all")
    parser.add_argument("--json", action="store_true", help="print one JSON object; progress goes to stderr")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, for working on the benchmarks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
