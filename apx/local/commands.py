"""`up`, `down`, `status` and `logs`: the platform on one machine, from the command line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import msgspec

from apx.errors import ApxError, NotFound
from apx.local import status
from apx.local.example import ORDER, curl
from apx.local.folder import Folder
from apx.local.follow import last_lines, new_lines
from apx.local.platform import Platform, read_record, stop
from apx.local.progress import Progress, for_terminal
from apx.local.settings import LocalSettings
from apx.local.signals import stop_signals_interrupt, uninterrupted
from apx.local.supervisor import Supervisor

INTERRUPTED = 130
WATCH_S = 0.5


class Start(Protocol):
    """Starts a platform: `Platform.start`, or a test's small one."""

    def __call__(self, settings: LocalSettings, *, progress: Progress) -> Platform:
        """Return it once it is ready. Raises an `ApxError`."""
        ...


def main(arguments: Sequence[str] | None = None, *, start: Start = Platform.start) -> int:
    """Run one command; return its exit code: 0 done, 1 one readable message on stderr, 130 interrupted."""
    asked = _parser(start).parse_args(arguments)
    try:
        return int(asked.run(asked))
    except ApxError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED


def up(asked: argparse.Namespace, start: Start) -> int:
    """Start everything; stay until Ctrl-C, or with `--detach` leave it running."""
    settings = LocalSettings.load()
    if asked.backends:
        settings = settings.model_copy(update={"backends": asked.backends})
    platform = None
    with stop_signals_interrupt():
        try:
            with for_terminal() as progress:
                platform = start(settings, progress=progress)
            sys.stdout.write(_as_json(platform) if asked.json else _as_text(platform, detached=asked.detach))
            sys.stdout.flush()
            return 0 if asked.detach else _watch(platform)
        except KeyboardInterrupt:
            if platform is None:
                return INTERRUPTED  # what was started is stopped already
            with uninterrupted():
                sys.stderr.write("\nstopping\n")
                platform.stop()
            return INTERRUPTED if asked.detach else 0


def down(_: argparse.Namespace) -> int:
    """Stop the platform of this folder and whatever is left of it."""
    folder = _folder()
    found = stop(folder)
    sys.stderr.write(f"Stopped the platform in {folder.root}.\n" if found else f"Nothing runs in {folder.root}.\n")
    return 0


def show_status(asked: argparse.Namespace) -> int:
    """Print what runs; exit 0 when all of it does."""
    folder = _folder()
    found = status.rows(folder)
    if asked.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    elif found:
        sys.stdout.write(status.as_text(found) + "\n")
    else:
        sys.stderr.write(f"Nothing runs in {folder.root}: `./dev up` starts a platform.\n")
    return 0 if status.healthy(found) else 1


def logs(asked: argparse.Namespace) -> int:
    """Print the end of one process's log, or of all."""
    folder = _folder()
    known = {path.stem: path for path in sorted(folder.logs.glob("*.log"))}
    if asked.name and asked.name not in known:
        raise NotFound(f"There is no log of {asked.name!r} in {folder.logs}; there are: {', '.join(known) or 'none'}.")
    paths = [known[asked.name]] if asked.name else list(known.values())
    width = max((len(path.stem) for path in paths), default=0)

    def show(name: str, line: str) -> None:
        sys.stdout.write(f"{line}\n" if asked.name else f"{name.ljust(width)} | {line}\n")

    for path in paths:
        for line in last_lines(path, asked.lines):
            show(path.stem, line)
    sys.stdout.flush()
    for path, line in new_lines(paths) if asked.follow else ():
        show(path.stem, line)
        sys.stdout.flush()
    return 0


def _parser(start: Start) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    starting = commands.add_parser("up", help="start the platform")
    starting.add_argument("--detach", action="store_true", help="leave it running and return")
    starting.add_argument("--backends", choices=("local", "gcp"), help="what keeps the data; gcp: Google's emulators")
    starting.add_argument("--json", action="store_true", help="print one JSON object: addresses, keys, an example")
    starting.set_defaults(run=partial(up, start=start))
    commands.add_parser("down", help="stop the platform").set_defaults(run=down)
    showing = commands.add_parser("status", help="show what runs")
    showing.add_argument("--json", action="store_true", help="print a JSON array, one object for each process")
    showing.set_defaults(run=show_status)
    reading = commands.add_parser("logs", help="print logs")
    reading.add_argument("name", nargs="?", help="of one process only")
    reading.add_argument("--follow", "-f", action="store_true", help="go on until Ctrl-C")
    reading.add_argument("--lines", "-n", type=int, default=50, help="how many old lines of each (default %(default)s)")
    reading.set_defaults(run=logs)
    return parser


def _folder() -> Folder:
    return Folder(LocalSettings.load().resolved().home)


def _watch(platform: Platform) -> int:
    """Report what dies, until somebody else stops the platform; 1 when nobody wanted that."""
    folder = Folder(platform.home)
    supervisor = Supervisor(folder)
    seen = supervisor.restarts()
    while supervisor.alive():
        now = supervisor.restarts()
        for name in sorted(name for name, count in now.items() if count > seen.get(name, 0)):
            sys.stderr.write(f"{name} died and was started again; see {folder.log(name)}\n")
        seen = now
        time.sleep(WATCH_S)
    if read_record(folder) is None:
        return 0  # `down` was called elsewhere
    platform.stop()
    sys.stderr.write("The supervisor died; what it had started is stopped.\n")
    return 1


def _as_json(platform: Platform) -> str:
    answer = {
        "edge": platform.edge,
        "control": platform.control,
        "keys": platform.keys,
        "admin_token": platform.admin_token,
        "example": ORDER,
    }
    return msgspec.json.encode(answer).decode() + "\n"


def _for_the_cli(platform: Platform) -> str:
    told = platform.settings.google()
    exports = " ".join(f"{name}={value}" for name, value in told.items())
    return f"for ./dev apx on the emulators\n  export {exports}\n\n" if told else ""


def _as_text(platform: Platform, *, detached: bool) -> str:
    keys = "\n".join(f"  {org:<12} {key}" for org, key in platform.keys.items())
    stop_it = "./dev down" if detached else "Ctrl-C"
    return f"""
edge     {platform.edge}
control  {platform.control}/api/openapi.json

demo keys, shown once (the next `up` makes new ones)
{keys}
admin token
  {platform.admin_token}

try
  {curl(platform.edge, next(iter(platform.keys.values()), "KEY"))}

{_for_the_cli(platform)}{stop_it} stops it; ./dev status and ./dev logs show what it does.
"""
