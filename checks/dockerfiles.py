"""What a Dockerfile here must not do: `python -m checks.dockerfiles [FILE …]`.

- an image comes by tag and digest, and never by the tag `latest`;
- the last stage runs as a user with a number, not root: Kubernetes cannot tell who a name is;
- nothing is fetched by ADD or run straight from the network, and nothing that sounds like a secret is in ENV or ARG.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
PINNED = re.compile(r"\S+:(?!latest@)[\w.-]+@sha256:[0-9a-f]{64}")
NUMERIC_USER = re.compile(r"[1-9][0-9]*(:[1-9][0-9]*)?")
SECRET = re.compile(r"(?i)\w*(secret|token|password|passwd|credential|api_?key|private_?key)\w*(?==|$)")
FETCHED_AND_RUN = re.compile(r"\b(curl|wget)\b[^;&]*\|\s*(sudo\s+)?\S*sh\b")


class Instruction(msgspec.Struct, frozen=True):
    """One instruction, with its continued lines in one."""

    line: int
    name: str
    arguments: str


def read(path: Path) -> list[Instruction]:
    """Return the instructions of a Dockerfile in their order."""
    found: list[Instruction] = []
    begun, number = "", 0
    for at, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        number = number if begun else at
        begun += line.strip().removesuffix("\\").strip() + " "
        if not line.rstrip().endswith("\\"):
            name, _, arguments = begun.strip().partition(" ")
            found.append(Instruction(number, name.upper(), arguments.strip()))
            begun = ""
    return found


def mistakes(path: Path) -> Iterator[str]:
    """Yield what is wrong with a Dockerfile, with its line."""
    stages: set[str] = set()
    user = Instruction(0, "USER", "root")
    for one in read(path):
        if one.name == "FROM":
            user = Instruction(one.line, "USER", "root")
        elif one.name == "USER":
            user = one
        for wrong in _mistakes(one, stages):
            yield f"{path}:{one.line}: {wrong}"
        if match := re.search(r"(?i) as (\S+)$", one.arguments):
            stages.add(match[1])
    if not NUMERIC_USER.fullmatch(user.arguments):
        yield f"{path}:{user.line}: it would run as {user.arguments}: name a user by a number that is not 0"


def _mistakes(one: Instruction, stages: set[str]) -> Iterator[str]:
    for image in _images(one):
        if image not in stages and not PINNED.fullmatch(image):
            yield f"{image} may be another image tomorrow: write name:tag@sha256:… (no latest)"
    if one.name == "ADD":
        yield "ADD fetches and unpacks: use COPY"
    if one.name in ("ENV", "ARG") and (match := SECRET.search(one.arguments)):
        yield f"{match[0]}: what stands in {one.name} can be read in the image"
    if one.name == "RUN" and FETCHED_AND_RUN.search(one.arguments):
        yield "what was fetched is run unseen: pin it by its hash first"


def _images(one: Instruction) -> list[str]:
    if one.name == "FROM":
        return [next(word for word in one.arguments.split() if not word.startswith("--"))]
    return re.findall(r"--from=(\S+)", one.arguments) if one.name == "COPY" else []


def main(arguments: Sequence[str]) -> int:
    """Print what is wrong with these files, or with the repository's; 1 when there is anything."""
    paths = [Path(argument) for argument in arguments] or [ROOT / "services" / "Dockerfile"]
    wrong = [line for path in paths for line in mistakes(path)]
    sys.stdout.writelines(f"{line.removeprefix(f'{ROOT}/')}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
